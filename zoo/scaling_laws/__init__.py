"""Scaling laws: fitted to runs, used to plan a run, and measured with runs of one's own."""
