"""Text in, token batches out.

`data.training_data.load` is the front door. TensorFlow and seqio are imported late, by `data.tasks` and
what builds on it: while a token cache is being built and while text is streamed. A second run from a
cache and sampling never load them.
"""
