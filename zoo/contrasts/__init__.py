"""Trained encoders, alone or with a decoder, at work: what a GPT is compared with."""
