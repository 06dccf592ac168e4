"""Models whose tokens see both sides of a text, or the text that another stack reads."""
