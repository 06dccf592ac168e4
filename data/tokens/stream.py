"""The text of one corpus as tokens, read in order and without end, from any place that was saved."""

import itertools
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from data.text.corpus import DocumentReader, Files
from data.tokens.encoding import encode_documents
from data.vocabularies.base import Vocabulary

# A snapshot holds the documents that wait to be shuffled: of C4 20 MB, written in 0.15 s. It is taken
# when so much text, and at least as much as it holds itself, was read since the last one.
_SNAPSHOT_CHARACTERS = 1 << 25


@dataclass(frozen=True)
class Snapshot:
    """Where a reader of documents stood.

    Attributes:
      files: what the reader saved.
      num_documents: that it had read, without those that are held out.
    """

    files: Files
    num_documents: int


@dataclass(frozen=True)
class Position:
    """Where a stream of tokens stands.

    Attributes:
      snapshot: the newest before it.
      num_documents: that are read to their end.
      offset: tokens of the next that are read.
    """

    snapshot: Snapshot
    num_documents: int
    offset: int


class TokenStream:
    """Documents, encoded, end to end and without end, cut into windows."""

    def __init__(
        self,
        documents: DocumentReader,
        trains_on: Callable[[str], bool],
        vocabulary: Vocabulary,
        num_processes: int,
        position: Position | None,
    ) -> None:
        """Reads the first of the documents, at `position` or where they begin.

        Args:
          documents: newly opened.
          trains_on: whether a text is one to train on.
          num_processes: that encode.

        Raises:
          DataError: the documents cannot be read.
        """
        self._documents, self._trains_on = documents, trains_on
        if position is None:
            position = Position(Snapshot(self._documents.save(), 0), 0, 0)
        else:
            self._documents.restore(position.snapshot.files)
        self._snapshots = deque([position.snapshot])
        self._num_documents, self._offset = position.num_documents, position.offset
        num_again = position.num_documents - position.snapshot.num_documents
        texts = itertools.islice(self._texts(), num_again, None)
        self._encoded = encode_documents(texts, vocabulary, num_processes)
        first = next(self._encoded)
        self._unread = first[self._offset :]
        self._lengths = deque([len(first)])  # of the documents that have tokens in `_unread`

    @property
    def position(self) -> Position:
        """Where the next window begins."""
        return Position(self._snapshots[0], self._num_documents, self._offset)

    def windows(self, count: int, seq_len: int) -> np.ndarray:
        """The next `count` windows, [count, T + 1] int32: each begins with the last token of the one
        before, so that every token is a target once."""
        tokens, length = [self._unread], len(self._unread)
        while length <= count * seq_len:
            tokens.append(next(self._encoded))
            self._lengths.append(len(tokens[-1]))
            length += len(tokens[-1])
        joined = np.concatenate(tokens)
        self._unread = joined[count * seq_len :]
        self._advance(count * seq_len)
        return np.lib.stride_tricks.sliding_window_view(joined, seq_len + 1)[
            : count * seq_len : seq_len
        ]

    def close(self) -> None:
        """Ends the processes that encode."""
        self._encoded.close()

    def _advance(self, num_tokens: int) -> None:
        self._offset += num_tokens
        while self._offset >= self._lengths[0]:
            self._offset -= self._lengths.popleft()
            self._num_documents += 1
        while len(self._snapshots) > 1 and self._snapshots[1].num_documents <= self._num_documents:
            self._snapshots.popleft()

    def _texts(self) -> Iterator[str]:
        """The documents from the snapshot on, which takes a snapshot now and then."""
        last, num_characters = self._snapshots[0], 0
        num_documents = last.num_documents
        while True:
            texts = [text for text in self._documents.read() if self._trains_on(text)]
            yield from texts
            num_documents += len(texts)
            num_characters += sum(map(len, texts))
            if num_characters >= max(_SNAPSHOT_CHARACTERS, sum(map(len, last.files.values()))):
                last, num_characters = Snapshot(self._documents.save(), num_documents), 0
                self._snapshots.append(last)
