"""From tokens to training batches."""
