"""Text in, token batches out.

`data.training_data.load` is the front door. TensorFlow and seqio are imported by `data.tasks`
alone, and only while a token cache is being built: a second run and sampling never load them.
"""
