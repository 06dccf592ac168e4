"""Small documents for the tests of `data`."""

from data.corpus import Document

_TEMPLATE = "def function_{0}(value):\n    if value > {0}:\n        return value * {0}\n\n"


def small_documents(count: int) -> list[Document]:
    """Documents that differ in their numbers, with enough repetition for a small vocabulary."""
    return [
        Document(f"{i}.py", "".join(_TEMPLATE.format(i * j) for j in range(1, 6)))
        for i in range(count)
    ]
