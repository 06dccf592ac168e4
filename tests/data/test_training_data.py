import copy
import itertools
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data import catalog, training_data
from data.batches.batch import Batches
from data.batches.rows import Rows
from data.batches.sizes import BatchSizes
from data.batches.streaming import Stream
from data.config import Data, Files, Mixture, Packing
from data.errors import DataConfigError, DataError
from data.tokens import cache as token_cache
from data.tokens.encoding import encode_documents
from data.training_data import TrainingData, load
from data.vocabularies.vocabulary import Vocabulary
from tests.data.samples import small_documents

SECOND_RUN = """
import sys
import data.batches.rows, data.vocabularies.lossless
from data.batches.sizes import BatchSizes
from data.config import Data, Files
from data.training_data import load

loaded = load(Data(source=Files(sys.argv[1]), cache_dir=sys.argv[2]), vocab_size=320, seq_len=32,
              sizes=BatchSizes.constant(4), report=print)
loaded.train.train_batch(0)
loaded.baselines()
assert not {"tensorflow", "seqio", "jax", "tensorflow_datasets"} & set(sys.modules)
"""


def computed(loaded: TrainingData) -> Batches:
    """Its training batches, which are not streamed."""
    assert not isinstance(loaded.train, Stream)
    return loaded.train


def no_report(line: str) -> None:
    assert line


def load_files(
    folder: Path,
    *,
    files: str = "*.py",
    seed: int = 0,
    packing: Packing = "split",
    vocab_size: int = 320,
    seq_len: int = 32,
    batch_size: int = 4,
    vocabulary: Vocabulary | None = None,
    report: Callable[[str], None] = no_report,
) -> TrainingData:
    return load(
        Data(
            source=Files(f"{folder}/{files}"),
            cache_dir=f"{folder}/cache",
            seed=seed,
            packing=packing,
        ),
        vocab_size=vocab_size,
        seq_len=seq_len,
        sizes=BatchSizes.constant(batch_size),
        vocabulary=vocabulary,
        report=report,
    )


def rows(batches: object) -> Rows:
    assert isinstance(batches, Rows)
    return batches


@pytest.fixture
def folder(tmp_path) -> Path:
    for document in small_documents(40):
        (tmp_path / document.name).write_text(document.text)
    return tmp_path


def test_the_batches_are_the_text(folder):
    lines: list[str] = []
    loaded = load_files(folder, report=lines.append)
    assert [line.split(" ")[0] for line in lines] == ["text:", "vocabulary:", "encoded"]

    ((corpus, _),) = catalog.find(Data(source=Files(f"{folder}/*.py")), folder / "cache")
    documents = {split: list(corpus.documents(split)) for split in ("train", "validation")}
    for windows, split in ((computed(loaded), "train"), (loaded.validation, "validation")):
        ids = [loaded.vocabulary.bos_id]
        for batch in windows.eval_batches(4):
            ids += batch["targets"][batch["segment_ids"] > 0].tolist()
        assert ids == [
            token_id
            for document in documents[split]
            for token_id in (
                loaded.vocabulary.bos_id,
                *loaded.vocabulary.encode(document.text),
                loaded.vocabulary.eos_id,
            )
        ]
    held_out = sum(len(document.text.encode()) for document in documents["validation"])
    assert loaded.num_validation_bytes == held_out
    assert loaded.num_validation_tokens == len(rows(loaded.validation).tokens)
    assert loaded.opening == rows(loaded.validation).tokens[:64].tolist()
    assert loaded.baselines().keys() == {"xz -9", "byte 5-gram"}


def test_a_second_run_needs_no_tensorflow(folder):
    load_files(folder)
    run = subprocess.run(
        [sys.executable, "-c", SECOND_RUN, f"{folder}/*.py", f"{folder}/cache"],
        capture_output=True,
        text=True,
        check=True,
    )
    text, vocabulary = run.stdout.splitlines()
    assert text.startswith("text: ")
    assert vocabulary.endswith("from the cache")
    assert run.stderr == ""


def test_a_given_vocabulary_is_used(folder, vocabulary):
    loaded = load_files(folder, vocabulary=vocabulary, vocab_size=400)
    assert loaded.vocabulary is vocabulary
    assert not list(folder.rglob("*.model"))
    with pytest.raises(DataConfigError, match=r"model\.vocab_size=319 .* at least 320"):
        load_files(folder, vocabulary=vocabulary, vocab_size=319)


def test_the_fingerprint_tells_what_changed(folder):
    original = load_files(folder)
    others = {
        "vocabulary": load_files(folder, vocab_size=330),
        "seq_len": load_files(folder, seq_len=31),
        "batch_size": load_files(folder, batch_size=5),
        "seed": load_files(folder, seed=1),
        "packing": load_files(folder, packing="unmasked"),
    }
    (folder / "0.py").write_text("other")
    others["corpus"] = load_files(folder, vocabulary=original.vocabulary)
    assert others.keys() == original.fingerprint.keys()
    for changed, other in others.items():
        differing = {key for key, value in other.fingerprint.items() - original.fingerprint.items()}
        assert differing == {changed}


def test_the_same_text_has_the_same_fingerprint(folder):
    assert load_files(folder).fingerprint == load_files(folder).fingerprint


def test_the_seed_orders_the_training_and_not_the_evaluation(folder):
    one, other = load_files(folder, seed=1), load_files(folder, seed=2)
    first, second = computed(one).train_batch(0), computed(other).train_batch(0)
    assert not np.array_equal(first["inputs"], second["inputs"])
    batches = zip(one.validation.eval_batches(4), other.validation.eval_batches(4), strict=True)
    for a, b in batches:
        np.testing.assert_array_equal(a["inputs"], b["inputs"])


def test_one_file_is_enough(folder):
    loaded = load_files(folder, files="1.py", vocabulary=load_files(folder).vocabulary, seq_len=8)
    whole = (folder / "1.py").read_text()
    text = "".join(
        loaded.vocabulary.decode(rows(batches).tokens.tolist())
        for batches in (loaded.train, loaded.validation)
    )
    assert text == whole


@pytest.mark.parametrize(("seq_len", "split"), [(10_000, "train"), (400, "validation")])
def test_a_text_shorter_than_one_sequence_is_explained(folder, seq_len, split):
    with pytest.raises(DataError, match=rf"the {split} text of data\.files=.* seq_len \+ 1"):
        load_files(folder, seq_len=seq_len)


def test_a_text_of_exactly_one_sequence_is_enough(folder):
    length = load_files(folder).num_validation_tokens
    assert len(rows(load_files(folder, seq_len=length - 1).validation)) == 1
    with pytest.raises(DataError, match=rf"has {length} tokens, .* seq_len \+ 1 = {length + 1}"):
        load_files(folder, seq_len=length)


def test_a_vocabulary_too_large_for_the_text_writes_nothing(folder):
    with pytest.raises(DataConfigError, match=r"model\.vocab_size=9999 .* at most"):
        load_files(folder, vocab_size=9999)
    assert not list((folder / "cache").rglob("*.*"))


def test_a_damaged_token_cache_is_refused(folder):
    load_files(folder)
    (tokens,) = folder.rglob("train.tokens")
    tokens.write_bytes(tokens.read_bytes()[:-10])
    with pytest.raises(DataError, match=f"{tokens.parent} is damaged .* delete it"):
        load_files(folder)


def test_encoding_shows_progress(folder, monkeypatch):
    monkeypatch.setattr(training_data, "_PROGRESS_EVERY_S", 0)
    lines: list[str] = []
    load_files(folder, report=lines.append)
    assert any(re.match(r"encoding the train text: 0 MB, [\d,]+ tokens", line) for line in lines)


def test_an_interrupted_encoding_goes_on(folder, monkeypatch):
    whole = load_files(folder)
    (cache,) = (folder / "cache" / "tokens").iterdir()
    shutil.rmtree(cache)
    monkeypatch.setattr(token_cache, "_BLOCK_TOKENS", 100)

    def interrupted(texts, *rest):
        yield from itertools.islice(encode_documents(texts, *rest), 20)
        raise KeyboardInterrupt

    monkeypatch.setattr(training_data, "encode_documents", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load_files(folder)
    monkeypatch.setattr(training_data, "encode_documents", encode_documents)
    lines: list[str] = []
    again = load_files(folder, report=lines.append)
    assert any(re.match(r"resuming after \d+ documents", line) for line in lines)
    np.testing.assert_array_equal(rows(again.train).tokens, rows(whole.train).tokens)


def test_a_vocabulary_can_be_given_as_a_file(folder, vocabulary, tmp_path):
    path = tmp_path / "my.model"
    path.write_bytes(vocabulary.to_bytes())
    config = Data(source=Files(f"{folder}/*.py"), cache_dir=f"{folder}/cache", vocabulary=str(path))
    loaded = load(
        config, vocab_size=400, seq_len=32, sizes=BatchSizes.constant(4), report=no_report
    )
    assert loaded.vocabulary.fingerprint == vocabulary.fingerprint
    path.write_bytes(b"")
    with pytest.raises(DataError, match=f"data.vocabulary='{path}' cannot be used: .*empty"):
        load(config, vocab_size=400, seq_len=32, sizes=BatchSizes.constant(4), report=no_report)


def test_whole_documents_are_planned_once_and_say_their_padding(folder):
    lines: list[str] = []
    first = load_files(folder, packing="whole", report=lines.append)
    assert re.match(r"documents are kept whole: \d+\.\d% of the training rows", lines[-1])
    (plan,) = folder.rglob("train.rows-32")
    plan.write_bytes(plan.read_bytes()[:-8])
    again = load_files(folder, packing="whole")
    np.testing.assert_array_equal(
        computed(first).train_batch(3)["inputs"], computed(again).train_batch(3)["inputs"]
    )


def with_special_ids(vocabulary: Vocabulary, bos_id: int | None, eos_id: int | None) -> Vocabulary:
    """Return the vocabulary with other special ids; the ids of text stay the same."""
    changed = copy.copy(vocabulary)
    changed.bos_id, changed.eos_id = bos_id, eos_id
    return changed


def test_whole_documents_need_a_token_that_separates_them(folder, vocabulary):
    unmarked = with_special_ids(vocabulary, None, None)
    with pytest.raises(DataConfigError, match=r"neither BOS nor EOS; write --data\.packing=unmask"):
        load_files(folder, vocabulary=unmarked, packing="whole")
    assert computed(load_files(folder, vocabulary=unmarked)).train_batch(0)["segment_ids"].all()


def test_only_a_vocabulary_with_one_mark_has_other_caches_than_before(folder, vocabulary):
    """Its documents had two marks in a row between them."""
    loaded = load_files(folder, vocabulary=vocabulary)
    assert loaded.fingerprint["vocabulary"] == vocabulary.fingerprint
    one_mark = with_special_ids(vocabulary, vocabulary.bos_id, vocabulary.bos_id)
    marked = load_files(folder, vocabulary=one_mark)
    assert marked.fingerprint["vocabulary"] != one_mark.fingerprint
    assert len({path.parent for path in folder.rglob("train.tokens")}) == 2
    tokens, marked_tokens = (rows(computed(data)).tokens for data in (loaded, marked))
    assert marked_tokens.tolist() == tokens[tokens != vocabulary.eos_id].tolist()


def test_without_a_mask_the_same_tokens_are_one_document_a_row(folder):
    lines: list[str] = []
    masked, unmasked = (load_files(folder, packing=p) for p in ("split", "unmasked"))
    load_files(folder, packing="unmasked", report=lines.append)
    assert "without a mask" in lines[-1]
    for split in ("train", "validation"):
        rows_of = [rows(getattr(data, split)).eval_batches(4) for data in (masked, unmasked)]
        for one, other in zip(*rows_of, strict=True):
            for key in ("inputs", "targets"):
                np.testing.assert_array_equal(one[key], other[key])
            assert other["segment_ids"].max() == 1
            assert (other["weights"] == (one["segment_ids"] > 0)).all()
    tokens = masked.num_validation_tokens - 1
    assert sum(batch["weights"].sum() for batch in unmasked.validation.eval_batches(4)) == tokens


def test_a_mixture_reads_all_its_sources(folder):
    for number in range(30):
        (folder / f"{number}.txt").write_text(f"note {number} is short but a text\n" * 20)
    config = Data(
        source=Mixture.parse([f"{folder}/*.py=3", f"{folder}/*.txt=1"]),
        cache_dir=f"{folder}/cache",
    )
    lines: list[str] = []
    loaded = load(
        config, vocab_size=320, seq_len=32, sizes=BatchSizes.constant(8), report=lines.append
    )
    assert [", 75.0% of every batch" in line for line in lines[:2]] == [True, False]
    texts = [
        loaded.vocabulary.decode(row.tolist())
        for step in range(10)
        for row in computed(loaded).train_batch(step)["inputs"]
    ]
    notes = sum("note" in text or "short" in text for text in texts)
    assert notes == 20
    corpora = {key for key in loaded.fingerprint if key.startswith("corpus ")}
    assert len(corpora) == 2
    held_out = "".join(
        loaded.vocabulary.decode(row.tolist())
        for batch in loaded.validation.eval_batches(4)
        for row in batch["inputs"]
    )
    assert "note" in held_out
    assert "def function_" in held_out
    assert loaded.baselines().keys() == {"xz -9", "byte 5-gram"}


def test_a_run_trains_the_vocabulary_of_its_style(tmp_path):
    (tmp_path / "text.txt").write_text("".join(d.text for d in small_documents(60)))
    lines: list[str] = []
    config = Data(
        source=Files(f"{tmp_path}/*.txt"), cache_dir=str(tmp_path), vocabulary_style="gpt2"
    )
    settings = {"seq_len": 16, "sizes": BatchSizes.constant(2), "report": lines.append}
    gpt2 = load(config, vocab_size=300, **settings)
    assert gpt2.vocabulary.bos_id == gpt2.vocabulary.eos_id == 299
    assert any("300 tokens in gpt2 style (GPT-2's" in line for line in lines)
    smaller = load(replace(config, vocabulary_size=290), vocab_size=300, **settings)
    assert smaller.vocabulary.size == 290
    with pytest.raises(DataConfigError, match="vocabulary_size=301 exceeds model.vocab_size=300"):
        load(replace(config, vocabulary_size=301), vocab_size=300, **settings)


def test_bytes_and_baselines_are_those_of_the_text_that_the_model_sees(tmp_path):
    text = "".join(d.text for d in small_documents(60))
    (tmp_path / "text.txt").write_text(text)
    config = Data(
        source=Files(f"{tmp_path}/*.txt"), cache_dir=str(tmp_path), vocabulary_style="gpt1"
    )
    lines: list[str] = []
    gpt1 = load(
        config, vocab_size=300, seq_len=16, sizes=BatchSizes.constant(2), report=lines.append
    )
    assert any("the vocabulary changes the text" in line for line in lines)
    same = load(
        replace(config, vocabulary_style="palm"),
        vocab_size=300,
        seq_len=16,
        sizes=BatchSizes.constant(2),
        report=lines.append,
    )
    held_out = same.vocabulary.decode(tokens_of(same.validation))
    decoded = gpt1.vocabulary.as_decoded(held_out)
    assert gpt1.num_validation_bytes == len(decoded.encode()) != same.num_validation_bytes
    assert set(gpt1.baselines()) == {"xz -9"}
    assert gpt1.baselines()["xz -9"] != same.baselines()["xz -9"]


def tokens_of(rows) -> list[int]:
    return rows.tokens.tolist()
