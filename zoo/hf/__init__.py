"""Weights, configs and tokenizers of Hugging Face folders, read and written."""
