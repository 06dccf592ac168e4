"""Small documents for the tests of `data`."""

from collections.abc import Sequence

from data.text.corpus import Corpus, SplitCorpus
from data.text.files import Document
from data.text.survey import take_survey

_TEMPLATE = "def function_{0}(value):\n    if value > {0}:\n        return value * {0}\n\n"


def small_documents(count: int) -> list[Document]:
    """Return documents that differ in their numbers and repeat enough for a small vocabulary."""
    return [
        Document(f"{i}.py", "".join(_TEMPLATE.format(i * j) for j in range(1, 6)))
        for i in range(count)
    ]


def corpus_of(documents: Sequence[Document], source: str = "here") -> Corpus:
    """Return a corpus of documents in memory."""
    return SplitCorpus("small", source, lambda: documents, take_survey(documents, []))
