"""A trained model at work: decoding, scoring and evaluation."""
