"""Checkpoints on disk: one folder per step, written and read with Orbax."""
