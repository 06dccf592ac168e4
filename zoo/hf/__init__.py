"""Import and export of Hugging Face folders: weights, config and tokenizer."""
