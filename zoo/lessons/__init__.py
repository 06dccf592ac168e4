"""Lessons: what a choice does, measured on trained models."""
