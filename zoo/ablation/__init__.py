"""Ablations: runs that change one choice at a time, and the statistics of their differences."""
