"""The text of a run, and the documents of it that are held out."""
