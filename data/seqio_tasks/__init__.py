"""Text as seqio tasks: the only room that imports TensorFlow."""
