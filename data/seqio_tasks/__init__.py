"""The only room that imports TensorFlow: text as seqio tasks."""
