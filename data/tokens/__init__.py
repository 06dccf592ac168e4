"""Encoded text: in a cache on disk, or as a stream."""
