"""The attention layer."""
