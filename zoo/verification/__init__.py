"""Runs that should be equal, started as processes and compared."""
