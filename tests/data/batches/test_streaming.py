import json
from fractions import Fraction

import numpy as np
import pytest

from data.batches.batch import border_ids
from data.batches.mixture import MixtureSchedule
from data.batches.rows import TokenWindows
from data.batches.sizes import BatchSizes
from data.batches.streaming import Stream
from data.config import Packing
from data.errors import DataConfigError, DataError
from data.text.corpus import PresplitCorpus, Shard
from data.tokens.encoding import encode_document
from tests.data.samples import small_documents

TEXTS = {
    "one": [document.text for document in small_documents(23)],
    "other": [f"A note on {number}, and on nothing else." for number in range(31)],
}
SEQ_LEN, BATCH_SIZE = 13, 8


class Documents:
    """A shard of some texts, in order, epoch after epoch."""

    def __init__(self, texts: list[str], shard: Shard):
        self.texts = texts[shard.index :: shard.count]
        self.num_read = 0

    def read(self) -> list[str]:
        self.num_read += 1
        return [self.texts[(self.num_read - 1) % len(self.texts)]]

    def save(self):
        return {"state": json.dumps(self.num_read).encode()}

    def restore(self, files) -> None:
        self.num_read = json.loads(files["state"])


def corpus(name: str) -> PresplitCorpus:
    return PresplitCorpus(
        name,
        name,
        "fingerprint",
        lambda split: iter(TEXTS[name] if split == "train" else ["held out"]),
        {"train": len(TEXTS[name]), "validation": 1},
        lambda shard, seed: Documents(TEXTS[name], shard),
    )


@pytest.fixture
def stream(vocabulary, monkeypatch):
    """Return a function that makes the stream of a host's rows."""
    monkeypatch.setattr("data.batches.streaming.num_cores", lambda: 1)
    monkeypatch.setattr("data.tokens.stream._SNAPSHOT_CHARACTERS", 1500)

    def make(rows=slice(None), shares=((1, 1),), packing: Packing = "split") -> Stream:
        corpora = {name: corpus(name) for name, _ in zip(TEXTS, shares, strict=False)}
        schedule = MixtureSchedule(tuple(Fraction(*share) for share in shares))
        shard = Shard.of_rows(rows, BATCH_SIZE)
        sizes = BatchSizes.constant(BATCH_SIZE)
        return Stream(corpora, schedule, shard, vocabulary, SEQ_LEN, sizes, seed=0, packing=packing)

    return make


def assert_same(one, other) -> None:
    for key in one.keys() | other.keys():
        np.testing.assert_array_equal(one[key], other[key])
        assert one[key].dtype == other[key].dtype


@pytest.mark.parametrize("packing", ["split", "unmasked"])
def test_a_batch_is_the_rows_that_a_cache_would_give(stream, vocabulary, packing):
    reader = stream(packing=packing).read_from(0, None)
    tokens = np.concatenate([encode_document(vocabulary, text) for text in TEXTS["one"]])
    rows = TokenWindows(
        tokens,
        SEQ_LEN,
        BatchSizes.constant(BATCH_SIZE),
        seed=0,
        **border_ids(packing, vocabulary),
    )
    for step in range(len(rows) // BATCH_SIZE):
        batch = reader.train_batch(step)
        assert_same(batch, rows.rows(np.arange(step * BATCH_SIZE, (step + 1) * BATCH_SIZE)))
    assert (batch["segment_ids"].max() > 1) == (packing == "split")


@pytest.mark.parametrize("shares", [((1, 1),), ((3, 4), (1, 4))])
@pytest.mark.parametrize("rows", [slice(None), slice(4, 6)])
def test_a_stream_resumes_exactly_at_every_step(stream, rows, shares):
    whole = stream(rows, shares).read_from(5, None)
    states, batches = [whole.state(5)], []
    for step in range(5, 65):
        batches.append(whole.train_batch(step))
        states.append(whole.state(step + 1))
    for step in range(5, 65):
        reader = stream(rows, shares).read_from(step, states[step - 5])
        assert reader.counters(step)["data/tokens"] == step * BATCH_SIZE * SEQ_LEN
        for following in range(step, min(step + 3, 65)):
            assert_same(reader.train_batch(following), batches[following - 5])


def test_batches_read_ahead_do_not_count(stream):
    """Batches that wait on the devices are read again after a resume."""
    reader, ahead = stream().read_from(0, None), stream().read_from(0, None)
    for step in range(12):
        reader.train_batch(step)
        ahead.train_batch(step)
    for step in range(12, 15):
        ahead.train_batch(step)
    assert ahead.counters(12) == reader.counters(12)
    assert ahead.state(12) == reader.state(12)
    assert ahead.state(15) != reader.state(12)


def test_discarded_batches_are_left_out_and_the_state_is_the_one_after_them(stream):
    whole, reader = stream().read_from(0, None), stream().read_from(0, None)
    batches = [whole.train_batch(step) for step in range(8)]
    reader.train_batch(0)
    for step in range(1, 6):
        reader.discard(step)
    assert reader.state(6) == whole.state(6)
    for step in (6, 7):
        assert_same(reader.train_batch(step), batches[step])


def test_batches_come_in_order_only(stream):
    reader = stream().read_from(3, None)
    with pytest.raises(ValueError, match="batch 4 of a stream whose next batch is 3"):
        reader.train_batch(4)


def test_hosts_fill_their_own_rows_from_their_own_documents(stream):
    parts = [stream(slice(first, first + 2)) for first in range(0, BATCH_SIZE, 2)]
    assert [part.shard for part in parts] == [Shard(index, 4) for index in range(4)]
    seen = []
    for number, part in enumerate(parts):
        reader = part.read_from(0, None)
        batch = reader.train_batch(0, slice(2 * number, 2 * number + 2))
        assert batch["inputs"].shape == (2, SEQ_LEN)
        seen.append(batch["inputs"].tobytes())
        assert reader.counters(1)["data/tokens"] == BATCH_SIZE * SEQ_LEN
    assert len(set(seen)) == 4


def test_rows_without_an_even_share_are_refused():
    with pytest.raises(DataConfigError, match=r"reads rows 0 to 3 of 8 has no even share"):
        Shard.of_rows(slice(0, 3), 8)
    with pytest.raises(DataConfigError, match=r"reads rows 1 to 5 of 8 has no even share"):
        Shard.of_rows(slice(1, 5), 8)


def test_sources_are_mixed_and_counted(stream, vocabulary):
    reader = stream(shares=((3, 4), (1, 4))).read_from(0, None)
    notes = 0
    for step in range(10):
        for row in reader.train_batch(step)["inputs"].tolist():
            text = vocabulary.decode(row)
            notes += "not" in text or "noth" in text or "els" in text
    counters = reader.counters(10)
    assert counters["data/tokens"] == 10 * BATCH_SIZE * SEQ_LEN
    assert counters["data/tokens/other"] == counters["data/tokens"] / 4
    assert counters["data/tokens/one"] == counters["data/tokens"] * 3 / 4
    assert set(counters) == {
        "data/tokens",
        "data/tokens/one",
        "data/tokens/other",
        "data/epochs/one",
        "data/epochs/other",
    }
    assert 0 < notes <= 10 * BATCH_SIZE / 4


def test_epochs_count_the_documents(stream):
    reader = stream().read_from(0, None)
    for step in range(100):
        reader.train_batch(step)
    read = reader.state(100)
    num_documents = json.loads(read["positions.json"])["positions"][0]["num_documents"]
    assert num_documents > 2 * len(TEXTS["one"])
    assert reader.counters(100)["data/epochs"] == num_documents / len(TEXTS["one"])


@pytest.mark.parametrize("damage", ["gone", "cut", "other share", "no snapshot"])
def test_a_state_of_another_stream_is_refused(stream, damage):
    state = stream().read_from(0, None).state(0)
    damaged = {
        "gone": {},
        "cut": {**state, "positions.json": state["positions.json"][:-3]},
        "other share": stream(slice(0, 4)).read_from(0, None).state(0),
        "no snapshot": {"positions.json": state["positions.json"]},
    }[damage]
    with pytest.raises(DataError, match="damaged .*delete that checkpoint .*--fresh"):
        stream().read_from(0, damaged)
