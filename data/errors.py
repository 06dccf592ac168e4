"""What `data` raises for what a person can put right."""


class DataError(Exception):
    """Text, a vocabulary or a cache is missing, damaged or does not fit the run.

    The message is meant to be read as it stands: it names the setting or the file, what is wrong
    with it and what to do.
    """


class DataConfigError(DataError):
    """A setting is at fault rather than the text: an unknown task, a vocabulary too large."""
