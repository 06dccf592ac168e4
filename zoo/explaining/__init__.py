"""Each model's choices and the reasons for them, for people: text, tables and drawings."""
