"""The errors that `data` raises for mistakes that a person can correct."""


class DataError(Exception):
    """Text, a vocabulary or a cache is missing or damaged, or does not fit the run.

    The message is shown to a person as it stands: it names the setting or the file, says what is
    wrong with it and what to do.
    """


class DataConfigError(DataError):
    """A setting is wrong rather than the text, such as an unknown task."""
