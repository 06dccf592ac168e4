import json
from collections.abc import Iterator

import numpy as np
import pytest

from data.text.corpus import SavedFiles
from data.tokens.encoding import encode_document
from data.tokens.stream import TokenStream
from tests.data.samples import small_documents

TEXTS = [document.text for document in small_documents(23)]
HELD_OUT = TEXTS[4]
PER_READ = 3


class NumberedReader:
    """A reader of TEXTS, in another order every epoch; its state is the number it has read."""

    def __init__(self):
        self.num_read = 0

    def read(self) -> list[str]:
        epoch, first = divmod(self.num_read, len(TEXTS))
        chosen = self.order(epoch)[first : first + PER_READ]
        self.num_read += len(chosen)
        return chosen

    def save(self) -> SavedFiles:
        return {"state": json.dumps(self.num_read).encode()}

    def restore(self, files: SavedFiles) -> None:
        self.num_read = json.loads(files["state"])

    @staticmethod
    def order(epoch: int) -> list[str]:
        return [TEXTS[i] for i in np.random.default_rng(epoch).permutation(len(TEXTS))]


@pytest.fixture
def open_stream(vocabulary, monkeypatch) -> Iterator:
    """Open streams that take a snapshot every few documents, and close them."""
    monkeypatch.setattr("data.tokens.stream._SNAPSHOT_CHARACTERS", 5 * len(TEXTS[0]))
    opened = []

    def open_it(position=None, num_processes=1, reader=None):
        trains_on = HELD_OUT.__ne__
        reader = reader or NumberedReader()
        opened.append(TokenStream(reader, trains_on, vocabulary, num_processes, position))
        return opened[-1]

    yield open_it
    for stream in opened:
        stream.close()


def tokens_of(windows: np.ndarray) -> list[int]:
    """Return the stream that was cut; each window begins with the last token of the one before."""
    assert (windows[1:, 0] == windows[:-1, -1]).all()
    return [*windows[:, :-1].ravel().tolist(), int(windows[-1, -1])]


def test_windows_are_the_documents_end_to_end_without_the_held_out_ones(open_stream, vocabulary):
    expected = [
        token_id
        for epoch in range(3)
        for text in NumberedReader.order(epoch)
        if text != HELD_OUT
        for token_id in encode_document(vocabulary, text)
    ]
    count = (len(expected) - 1) // 7
    stream = open_stream()
    windows = np.concatenate([stream.windows(1, 7), stream.windows(count - 1, 7)])
    assert tokens_of(windows) == expected[: count * 7 + 1]


@pytest.mark.parametrize("num_processes", [1, 2])
def test_a_stream_resumes_exactly_from_any_position(open_stream, num_processes, monkeypatch):
    """Before, at and after snapshots, in the middle of documents, and over the ends of epochs."""
    monkeypatch.setattr("data.tokens.encoding._MIN_BYTES_TO_DIVIDE", 4000)
    monkeypatch.setattr("data.tokens.encoding._JOB_CHARACTERS", 1000)
    reader = NumberedReader()
    whole = open_stream(num_processes=num_processes, reader=reader)
    positions, windows = [whole.position], []
    for _ in range(40):
        windows.append(whole.windows(3, 61))
        positions.append(whole.position)
    assert positions[-1].num_documents > 2 * len(TEXTS)
    assert len({position.snapshot.num_documents for position in positions}) > 5
    assert {position.offset == 0 for position in positions} == {True, False}
    for step in range(0, 40, 1 if num_processes == 1 else 13):
        resumed = open_stream(positions[step], num_processes)
        assert resumed.position == positions[step]
        for expected in windows[step : step + 3]:
            np.testing.assert_array_equal(resumed.windows(3, 61), expected)
        assert resumed.position.num_documents == positions[min(step + 3, 40)].num_documents


def test_no_more_is_saved_than_is_read(open_stream):
    """However large the shuffle buffer is."""
    reader = NumberedReader()
    large = {"state": b"0" * 20 * len(TEXTS[0])}
    reader.save = lambda: saved.append(reader.num_read) or large
    saved: list[int] = []
    stream = open_stream(reader=reader)
    for _ in range(60):
        stream.windows(3, 61)
    assert len(saved) > 2
    assert min(np.diff(saved)) * max(map(len, TEXTS)) >= len(large["state"])
