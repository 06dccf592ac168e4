"""What each model chose and why, for people: text, tables and drawings."""
