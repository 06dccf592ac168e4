"""The attention layer, and the kernels among which one serves it."""
