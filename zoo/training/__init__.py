"""One training step: loss, optimizer, step, and the program that jits it over a mesh."""
