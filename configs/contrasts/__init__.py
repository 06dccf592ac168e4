"""Models that the GPT family left behind: they see both sides of a text, or two texts."""
