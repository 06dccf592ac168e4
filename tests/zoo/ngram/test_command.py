"""`python -m zoo.ngram`, and the commands that take its folder as a checkpoint."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from data.batches.rows import TokenWindows
from zoo import evaluate, sample
from zoo.common.progress import Progress
from zoo.ngram import __main__ as command
from zoo.ngram.files import COUNTS_FILE, SETTINGS_FILE
from zoo.ngram.model import NgramModel, documents


@pytest.fixture(scope="module")
def counted(tmp_path_factory, corpus_glob) -> Path:
    out = tmp_path_factory.mktemp("ngram") / "model"
    command.main([f"--data.files={corpus_glob}", "--vocab-size=300", "--order=3", f"--out={out}"])
    return out


def test_what_is_printed_is_what_evaluate_finds(corpus_glob, tmp_path, run_here):
    out = tmp_path / "model"
    flags = [f"--data.files={corpus_glob}", "--vocab-size=300", "--order=3", f"--out={out}"]
    outcome = run_here(command.main, *flags, "--json")
    assert outcome.code == 0, outcome.stderr
    printed = json.loads(outcome.stdout)
    found = json.loads(run_here(evaluate.main, f"--checkpoint={out}", "--json").stdout)
    assert found["order"] == printed["order"] == 3
    for name in ("eval/bits_per_byte", "eval/loss", "baselines"):
        assert found[name] == printed[name]
    assert f"{found['eval/bits_per_byte']:.4f}" in run_here(
        evaluate.main, f"--checkpoint={out}"
    ).stdout  # fmt: skip


def test_bits_per_byte_are_those_of_the_probabilities_one_by_one(counted, run_here):
    found = json.loads(
        run_here(evaluate.main, f"--checkpoint={counted}", "--max-tokens=150", "--json").stdout
    )
    model = NgramModel.read(counted)
    text = model.load_text(None, 150, None, Progress(Console(quiet=True)))
    assert isinstance(text.rows, TokenWindows)
    marks = model.vocabulary.bos_id, model.vocabulary.eos_id
    nats, tokens = 0.0, 0
    for document in documents(text.rows.tokens, *marks):
        for place, token in enumerate(document):
            nats -= math.log(model.ngram.next_probabilities(document[:place])[token])
            tokens += 1
    assert found["num_tokens"] == tokens
    assert found["eval/loss"] == pytest.approx(nats / tokens)
    assert found["eval/bits_per_byte"] == pytest.approx(nats / math.log(2) / text.num_bytes)


def test_any_text_can_be_measured(counted, tmp_path, run_here):
    (tmp_path / "a.txt").write_text("some other text, " * 20)
    flags = [f"--checkpoint={counted}", f"--data.files={tmp_path / 'a.txt'}", "--json"]
    outcome = run_here(evaluate.main, *flags)
    assert outcome.code == 0, outcome.stderr
    assert json.loads(outcome.stdout)["num_bytes"] == 17 * 20


def test_samples_follow_the_counts(counted, run_here):
    flags = [f"--checkpoint={counted}", "--prompt=the ", "--max-tokens=12", "--json"]
    greedy = run_here(sample.main, *flags, "--temperature=0")
    assert greedy.code == 0, greedy.stderr
    (drawn,) = json.loads(greedy.stdout)["samples"]
    model = NgramModel.read(counted)
    row = model.vocabulary.encode("the ")
    for _ in range(12):
        p = model.ngram.next_probabilities(row) * model._is_text
        row.append(int(p.argmax()))
    text = model.vocabulary.decode(row[: len(row)])
    assert text.startswith(drawn["prompt"] + drawn["text"])
    two = run_here(sample.main, *flags, "--num-samples=2", "--seed=5").stdout
    assert two == run_here(sample.main, *flags, "--num-samples=2", "--seed=5").stdout
    assert two != run_here(sample.main, *flags, "--num-samples=2", "--seed=6").stdout


def test_a_prompt_of_ids_is_continued_in_ids(counted, run_here):
    outcome = run_here(
        sample.main, f"--checkpoint={counted}", "--ids", "5", "6", "--max-tokens=4", "--json"
    )
    (row,) = json.loads(outcome.stdout)["samples"]
    assert row["prompt"] == [5, 6]
    assert 0 < len(row["ids"]) <= 4


def test_a_part_of_the_text_is_counted_at_random(corpus_glob, tmp_path, run_here):
    def counts(name: str, *flags: str) -> dict:
        out = [f"--data.files={corpus_glob}", f"--out={tmp_path / name}", "--units=bytes", "--json"]
        return json.loads(run_here(command.main, *out, *flags).stdout)

    whole, part = counts("whole"), counts("part", "--max-tokens=500")
    assert part["num_tokens"] == 500 < whole["num_tokens"]
    assert part["vocab_size"] == whole["vocab_size"] == 257
    assert part["eval/bits_per_byte"] > whole["eval/bits_per_byte"]
    other = counts("other", "--max-tokens=500", "--data.seed=1")
    assert other["eval/bits_per_byte"] != part["eval/bits_per_byte"]


def test_257_tokens_are_no_bytes_and_packing_changes_nothing(corpus_glob, tmp_path, run_here):
    flags = [f"--data.files={corpus_glob}", "--vocab-size=257", "--json"]
    split = run_here(command.main, *flags, f"--out={tmp_path / 'a'}")
    assert split.code == 2 and "257" in split.stderr  # too few for tokens, and not taken for bytes
    found = []
    for packing in ("split", "whole"):
        more = [f"--data.packing={packing}", "--vocab-size=300", f"--out={tmp_path / packing}"]
        found.append(json.loads(run_here(command.main, *flags, *more).stdout))
    assert found[0]["eval/bits_per_byte"] == found[1]["eval/bits_per_byte"]


def test_a_model_is_read_as_it_was_written(counted):
    model = NgramModel.read(counted)
    again = counted.parent / "again"
    again.mkdir()
    model.write(again)
    copy = NgramModel.read(again)
    assert copy.fingerprint == model.fingerprint
    assert copy.data == model.data
    for row in ([], [7], [7, 8, 9]):
        np.testing.assert_array_equal(
            copy.ngram.next_probabilities(row), model.ngram.next_probabilities(row)
        )


@pytest.mark.parametrize(
    ("main", "flags", "code", "message"),
    [
        (sample.main, ["--prompt=a", "--step=3"], 2, "--step is for a checkpoint of a run"),
        (
            sample.main,
            ["--prompt=a", "--weights=int8"],
            2,
            "--weights is for a checkpoint of a run",
        ),
        (sample.main, ["--ids", "3", "999"], 2, "the prompt has the ids [999]"),
        (evaluate.main, ["--max-tokens=0"], 2, "--max-tokens=0 must be above zero"),
        (evaluate.main, ["--seq-len=16"], 2, "leave the other flags out"),
        (evaluate.main, ["--tasks", "arc_easy"], 2, "leave the other flags out"),
    ],
)
def test_what_a_run_alone_has_is_refused(main, flags, code, message, counted, run_here):
    outcome = run_here(main, f"--checkpoint={counted}", *flags)
    assert outcome.code == code
    assert message in " ".join(outcome.stderr.split())


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--data.mixture=stdlib=1,packages=1"], 2, "counts the whole text of one source"),
        (["--order=0"], 2, "order=0 must be above zero"),
        (["--units=bytes", "--data.vocabulary=here"], 2, "leave one of them out"),
        (["--out=tests/zoo"], 2, "is not empty; name a new folder"),
        (["--data.files=/nowhere/*.txt"], 3, "/nowhere/*.txt"),
    ],
)
def test_a_mistake_is_one_message(flags, code, message, run_here):
    outcome = run_here(command.main, *flags)
    assert outcome.code == code, outcome.stderr
    assert message in " ".join(outcome.stderr.replace("│", " ").split())


@pytest.mark.parametrize("name", [SETTINGS_FILE, COUNTS_FILE, "vocabulary/tokenizer.model"])
def test_a_damaged_folder_is_said_plainly(name, counted, tmp_path, run_here):
    folder = tmp_path / "model"
    shutil.copytree(counted, folder)
    (folder / name).write_bytes(b"{}")
    outcome = run_here(sample.main, f"--checkpoint={folder}", "--prompt=a")
    assert outcome.code == 3
    assert "is damaged" in outcome.stderr
