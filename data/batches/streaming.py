"""Training batches of text that is too large for a token cache: documents are encoded as they come.

A stream can only be read in order. Each host reads its own share of the documents and fills its own
rows of every batch. What a checkpoint holds of a stream is the newest snapshot of its documents'
reader and how much was read after it: going on reads that once more, without encoding it, and the
next batch is the same, bit for bit.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Protocol

import numpy as np

from data.batches.mixture import Turns
from data.batches.rows import Batch, Batches, window_batch
from data.errors import DataError
from data.text.corpus import Corpus, Files, Shard
from data.tokens.encoding import num_cores
from data.tokens.stream import Position, Snapshot, TokenStream
from data.vocabularies.base import Vocabulary

SHUFFLE_DOCUMENTS = 8192
"""Documents that wait to be drawn from; files are read in an order of each epoch's own."""

# Together they encode more than a host trains on.
_MAX_PROCESSES = 16
_POSITIONS = "positions.json"


class Reader(Protocol):
    """Training batches one after the other, and where in the text they stand."""

    def train_batch(self, step: int) -> Batch:
        """This host's rows of batch `step`."""
        ...

    def counters(self, step: int) -> dict[str, float]:
        """Epochs and tokens read, the padding left out, when `step` batches have been seen."""
        ...

    def state(self, step: int) -> Files:
        """What this host needs, besides `step`, to go on when `step` batches have been seen."""
        ...

    def close(self) -> None:
        """Ends the processes that encode for it."""
        ...


@dataclass(frozen=True)
class ComputedReader:
    """Reads batches that are a pure function of their number.

    Attributes:
      rows: this host's share of a batch.
    """

    batches: Batches
    rows: slice

    def train_batch(self, step: int) -> Batch:
        """See `Reader`."""
        return self.batches.train_batch(step, self.rows)

    def counters(self, step: int) -> dict[str, float]:
        """See `Reader`."""
        return self.batches.counters(step)

    def state(self, step: int) -> Files:
        """Nothing: the step says it all."""
        del step
        return {}

    def close(self) -> None:
        """Nothing to end."""


@dataclass(frozen=True, eq=False)
class Stream:
    """What a host streams: its rows of every training batch.

    Attributes:
      corpora: by name.
      turns: which of them a row comes from; every host takes the same turns.
      shard: this host's share.
      seq_len: T.
      batch_size: rows of a training batch over all hosts.
      seed: of the order of the documents.
    """

    corpora: Mapping[str, Corpus]
    turns: Turns
    shard: Shard
    vocabulary: Vocabulary
    seq_len: int
    batch_size: int
    seed: int

    @property
    def num_rows(self) -> int:
        """Of a batch, on this host."""
        return self.batch_size // self.shard.count

    @property
    def fingerprint(self) -> dict[str, str | int]:
        """What the batches depend on besides the text, the vocabulary, the shape and the seed. A saved
        iterator belongs to the TensorFlow that made it."""
        return {"hosts": self.shard.count, "tensorflow": version("tensorflow")}

    def describe(self) -> str:
        """What a person should know of it."""
        return (
            "the training text is streamed, not cached: its documents are shuffled in a buffer of "
            f"{SHUFFLE_DOCUMENTS:,}, TensorFlow stays in memory, and a stopped run goes on exactly "
            f"only on the same number of hosts ({self.shard.count})"
        )

    def read_from(self, first_step: int, state: Files | None) -> "StreamReader":
        """Reads from batch `first_step` on.

        Args:
          state: what a reader of this stream gave at that step; None begins with the first documents.

        Raises:
          DataError: the text cannot be read, or `state` is not of this stream.
        """
        positions = [None] * len(self.corpora) if state is None else self._positions(state)
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
        return StreamReader(self, streams, first_step)

    def state(self, positions: list[Position]) -> Files:
        """The positions in all corpora as files."""
        described = []
        files: dict[str, bytes] = {}
        for number, (name, position) in enumerate(zip(self.corpora, positions, strict=True)):
            snapshot = position.snapshot
            described.append(
                {
                    "corpus": name,
                    "snapshot_documents": snapshot.num_documents,
                    "num_documents": position.num_documents,
                    "offset": position.offset,
                    "files": sorted(snapshot.files),
                }
            )
            files |= {f"{number}.{name}": content for name, content in snapshot.files.items()}
        about = {"shard": asdict(self.shard), "positions": described}
        return files | {_POSITIONS: json.dumps(about).encode()}

    def _positions(self, state: Files) -> list[Position]:
        """The inverse of `state`."""
        try:
            about = json.loads(state[_POSITIONS])
            if about["shard"] != asdict(self.shard):
                raise ValueError(f"it is of the share {about['shard']}")
            positions = []
            for number, one in enumerate(about["positions"]):
                files = {name: state[f"{number}.{name}"] for name in one["files"]}
                snapshot = Snapshot(files, one["snapshot_documents"])
                positions.append(Position(snapshot, one["num_documents"], one["offset"]))
            return positions
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"where the stream stood is not in the checkpoint, or damaged ({error!r}). Delete that "
                "checkpoint to go on from the one before it, or start over with --fresh."
            ) from error


class StreamReader:
    """See `Reader`. Batches come in order only, each once."""

    def __init__(self, stream: Stream, streams: list[TokenStream], first_step: int) -> None:
        self._stream, self._streams = stream, streams
        self._next_step = self._oldest_step = first_step
        # Batches are made ahead of the steps that are asked about, in another thread.
        self._positions = {first_step: [each.position for each in streams]}

    def train_batch(self, step: int) -> Batch:
        """See `Reader`. Raises ValueError unless it is the next."""
        if step != self._next_step:
            raise ValueError(f"batch {step} of a stream that stands at {self._next_step}")
        config = self._stream
        draws = np.arange(step * config.num_rows, (step + 1) * config.num_rows)
        corpus_of = config.turns.source_of(draws)
        windows = np.empty((config.num_rows, config.seq_len + 1), np.int32)
        for number, stream in enumerate(self._streams):
            place = np.flatnonzero(corpus_of == number)
            if len(place):
                windows[place] = stream.windows(len(place), config.seq_len)
        self._next_step = step + 1
        self._positions[step + 1] = [each.position for each in self._streams]
        vocabulary = config.vocabulary
        num_real = np.full(config.num_rows, config.seq_len)
        return window_batch(windows, num_real, vocabulary.bos_id, vocabulary.eos_id)

    def counters(self, step: int) -> dict[str, float]:
        """See `Reader`. Epochs only where it is known how many documents an epoch has."""
        config, positions = self._stream, self._positions_at(step)
        found: dict[str, float] = {}
        for number, (name, corpus) in enumerate(config.corpora.items()):
            suffix = f"/{name}" if len(config.corpora) > 1 else ""
            num_rows = config.turns.num_before(np.array([step * config.num_rows]), number)[0]
            found[f"data/tokens{suffix}"] = int(num_rows) * config.shard.count * config.seq_len
            if corpus.num_train_documents is not None:
                num_documents = positions[number].num_documents * config.shard.count
                found[f"data/epochs{suffix}"] = num_documents / corpus.num_train_documents
        return found | {"data/tokens": step * config.batch_size * config.seq_len}

    def state(self, step: int) -> Files:
        """See `Reader`."""
        return self._stream.state(self._positions_at(step))

    def close(self) -> None:
        """See `Reader`."""
        for stream in self._streams:
            stream.close()

    def _positions_at(self, step: int) -> list[Position]:
        """Where the streams stood after `step` batches; steps before it will not be asked about."""
        for old in range(self._oldest_step, step):
            del self._positions[old]
        self._oldest_step = step
        return self._positions[step]
