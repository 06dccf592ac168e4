"""Text in, token batches out.

The entry point is `data.training_data.load`. Only `data.seqio_tasks` imports TensorFlow and seqio,
and it is imported late: while a token cache of a task is built and while text is streamed. A second
run from a cache, and sampling, never load them.
"""
