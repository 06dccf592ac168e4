"""Training batches made of tokens."""
