"""What the GPT family left behind: models that see both sides of a text, or two texts."""
