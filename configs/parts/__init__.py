"""The parts of an experiment that are choices of types, each with its own file."""
