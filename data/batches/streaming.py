"""Training batches of text too large for a token cache: documents are encoded as they are read.

A stream can only be read in order. Each host reads its own share of the documents and fills its own
rows of every batch. A checkpoint holds the newest snapshot of each document reader and how much was
read after it. To resume, that much is read again, without encoding it; the next batch is then the
same, bit for bit.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version

import numpy as np

from data.batches.batch import ALL, Batch, border_ids, window_batch
from data.batches.mixture import MixtureSchedule
from data.batches.sizes import BatchSizes
from data.config import Packing
from data.errors import DataError
from data.text.corpus import Corpus, SavedFiles, Shard
from data.tokens.encoding import num_cores
from data.tokens.stream import Snapshot, StreamPosition, TokenStream
from data.vocabularies.vocabulary import Vocabulary

SHUFFLE_DOCUMENTS = 8192
"""Size of the shuffle buffer, in documents. Each epoch also reads the files in a new order."""

# This many processes encode text faster than a host trains on it.
_MAX_PROCESSES = 16
_POSITIONS_FILE = "positions.json"


@dataclass(frozen=True, eq=False)
class Stream:
    """The rows of every training batch that a host reads from a stream."""

    corpora: Mapping[str, Corpus]
    """Corpora by name."""
    schedule: MixtureSchedule
    """The corpus of every row; all hosts follow the same schedule."""
    shard: Shard
    """This host's share of the documents."""
    vocabulary: Vocabulary
    seq_len: int
    """Predictions in a row, T."""
    sizes: BatchSizes
    """Rows of every training batch, over all hosts."""
    seed: int
    """Seed of the order of the documents."""
    packing: Packing
    """unmasked, or split; whole documents need a plan, which a stream has not."""

    @property
    def fingerprint(self) -> dict[str, str | int]:
        """Everything that the batches depend on, except text, vocabulary, shape and seed.

        A saved iterator can be restored only by the version of TensorFlow that saved it.
        """
        return {"hosts": self.shard.count, "tensorflow": version("tensorflow")}

    def describe(self) -> str:
        """Return the consequences of streaming, in one line for people."""
        return (
            "the training text is streamed, not cached: its documents are shuffled in a buffer of "
            f"{SHUFFLE_DOCUMENTS:,}, TensorFlow stays in memory, and a stopped run resumes exactly "
            f"only on the same number of hosts ({self.shard.count})"
        )

    def read_from(self, first_step: int, state: SavedFiles | None) -> "StreamReader":
        """Return a reader whose next batch is `first_step`.

        `state` comes from a reader of this stream at that step; None starts with the first
        documents. Raises DataError if the text cannot be read, or `state` belongs to another
        stream or is damaged.
        """
        positions, num_rows = [None] * len(self.corpora), 0
        if state is not None:
            positions, num_rows = self._positions(state, first_step)
        num_processes = max(1, min(num_cores(), _MAX_PROCESSES) // len(self.corpora))
        streams: list[TokenStream] = []
        try:
            for corpus, position in zip(self.corpora.values(), positions, strict=True):
                documents = corpus.streamed()(self.shard, self.seed)
                streams.append(
                    TokenStream(
                        documents, corpus.trains_on, self.vocabulary, num_processes, position
                    )
                )
        except BaseException:
            for stream in streams:
                stream.close()
            raise
        return StreamReader(self, streams, first_step, num_rows)

    def state(self, positions: list[StreamPosition], num_rows: int) -> SavedFiles:
        """Return as files the positions in all corpora after `num_rows` rows of this host."""
        records = []
        files: dict[str, bytes] = {}
        for number, (name, position) in enumerate(zip(self.corpora, positions, strict=True)):
            snapshot = position.snapshot
            records.append(
                {
                    "corpus": name,
                    "snapshot_documents": snapshot.num_documents,
                    "num_documents": position.num_documents,
                    "offset": position.offset,
                    "files": sorted(snapshot.files),
                }
            )
            files |= {f"{number}.{name}": content for name, content in snapshot.files.items()}
        record = {"shard": asdict(self.shard), "num_rows": num_rows, "positions": records}
        return files | {_POSITIONS_FILE: json.dumps(record).encode()}

    def _positions(self, state: SavedFiles, step: int) -> tuple[list[StreamPosition], int]:
        """Return the positions from which `state` was made, and this host's rows before them."""
        try:
            record = json.loads(state[_POSITIONS_FILE])
            if record["shard"] != asdict(self.shard):
                raise ValueError(f"it belongs to the shard {record['shard']}")
            positions = []
            for number, position in enumerate(record["positions"]):
                files = {name: state[f"{number}.{name}"] for name in position["files"]}
                snapshot = Snapshot(files, position["snapshot_documents"])
                positions.append(
                    StreamPosition(snapshot, position["num_documents"], position["offset"])
                )
            # Earlier versions did not save the number of rows: all their batches had one size.
            num_rows = step * self.sizes.largest // self.shard.count
            return positions, record.get("num_rows", num_rows)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"the checkpoint's position in the stream is missing or damaged ({error!r}); "
                "delete that checkpoint to resume from the one before, or start over with --fresh"
            ) from error


class StreamReader:
    """A Reader of a stream. Its batches come in order only, each once."""

    def __init__(
        self, stream: Stream, token_streams: list[TokenStream], first_step: int, num_rows: int
    ):
        self._stream, self._token_streams = stream, token_streams
        self._next_step = self._oldest_step = first_step
        self._num_rows = num_rows  # that this host has read
        # By step, because another thread reads batches ahead of the step that is asked about.
        self._positions = {first_step: self._current_positions()}

    def train_batch(self, step: int, rows: slice = ALL) -> Batch:
        """Return this host's `rows` of batch `step`.

        Raises ValueError unless it is the next batch. Hosts read different rows, and each takes its
        own from its own documents: only their number counts.
        """
        if step != self._next_step:
            raise ValueError(f"batch {step} of a stream whose next batch is {self._next_step}")
        config = self._stream
        num_rows = len(range(config.sizes.size(step))[rows])
        corpus_of = config.schedule.source_of(np.arange(self._num_rows, self._num_rows + num_rows))
        windows = np.empty((num_rows, config.seq_len + 1), np.int32)
        for number, tokens in enumerate(self._token_streams):
            of_corpus = np.flatnonzero(corpus_of == number)
            if len(of_corpus):
                windows[of_corpus] = tokens.windows(len(of_corpus), config.seq_len)
        self._next_step = step + 1
        self._num_rows += num_rows
        self._positions[step + 1] = self._current_positions()
        num_real = np.full(num_rows, config.seq_len)
        return window_batch(windows, num_real, **border_ids(config.packing, config.vocabulary))

    def discard(self, step: int, rows: slice = ALL) -> None:
        """Read batch `step` and drop it."""
        self.train_batch(step, rows)

    def counters(self, step: int) -> dict[str, float]:
        """Return the tokens of `step` batches and, if an epoch's length is known, the epochs."""
        config = self._stream
        positions, num_rows = self._positions_at(step)
        tokens_per_row = config.shard.count * config.seq_len
        counters: dict[str, float] = {}
        for number, (name, corpus) in enumerate(config.corpora.items()):
            suffix = f"/{name}" if len(config.corpora) > 1 else ""
            num_drawn = config.schedule.num_before(np.array([num_rows]), number)[0]
            counters[f"data/tokens{suffix}"] = int(num_drawn) * tokens_per_row
            if corpus.num_train_documents is not None:
                num_documents = positions[number].num_documents * config.shard.count
                counters[f"data/epochs{suffix}"] = num_documents / corpus.num_train_documents
        return counters | {"data/tokens": config.sizes.before(step) * config.seq_len}

    def state(self, step: int) -> SavedFiles:
        """Return the positions after `step` batches; see `Reader`."""
        return self._stream.state(*self._positions_at(step))

    def close(self) -> None:
        """End the processes that encode."""
        for tokens in self._token_streams:
            tokens.close()

    def _current_positions(self) -> tuple[list[StreamPosition], int]:
        return [tokens.position for tokens in self._token_streams], self._num_rows

    def _positions_at(self, step: int) -> tuple[list[StreamPosition], int]:
        """Return the positions and the rows read after `step` batches; forget earlier steps."""
        for earlier in range(self._oldest_step, step):
            del self._positions[earlier]
        self._oldest_step = step
        return self._positions[step]
