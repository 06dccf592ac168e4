"""One training step: the loss, the optimizer, the step, and the program that jits it over a mesh."""
