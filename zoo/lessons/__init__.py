"""Lessons: what a choice of the papers does, measured on the devices here; see catalog.py."""
