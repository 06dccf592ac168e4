"""Vocabularies with one budget: what is equal, and the lesson's runs on a small text."""

import pytest

from models.config import ConfigError
from zoo.lessons import vocabularies
from zoo.lessons.catalog import Vocabularies
from zoo.lessons.vocabularies import NUM_BYTE_IDS, prepare


@pytest.fixture
def nano(corpus_glob) -> dict:
    return {
        "files": corpus_glob, "d_model": 16, "vocab_size": 400, "seq_len": 32,
        "batch_tokens": 128, "num_bytes": 16_000,
    }  # fmt: skip


def test_runs_have_equal_flops_and_one_model_but_its_tables(nano, tmp_path):
    found = {each.name: each for each in prepare(Vocabularies(**nano), tmp_path, print)}
    assert list(found) == ["bytes", "BPE", "unigram"]
    step = found["BPE"].flops / found["BPE"].run.num_steps
    for each in found.values():
        assert each.flops == pytest.approx(found["BPE"].flops, abs=step)
        assert each.run.model.vocab_size == each.vocabulary.size
        assert each.table_params == each.vocabulary.size * 16
        assert each.vocabulary.keeps_text
    assert found["bytes"].vocabulary.size == NUM_BYTE_IDS
    assert found["bytes"].bytes_per_token == 1
    assert found["BPE"].bytes_per_token > 2
    assert found["BPE"].text_bytes > found["bytes"].text_bytes


def test_runs_can_have_equal_bytes_of_text(nano, tmp_path):
    found = prepare(Vocabularies(**nano, equal="bytes"), tmp_path, print)
    for each in found:
        assert each.text_bytes == pytest.approx(16_000, abs=128 * each.bytes_per_token)


def test_the_lesson_compares_in_bits_per_byte(nano):
    lesson, lines = Vocabularies(**nano), []
    shown = vocabularies.show(lesson, lines.append)
    found = shown.to_json()
    assert [each["name"] for each in found["compared"]] == ["bytes", "BPE", "unigram"]
    assert len(found["measured"]) == 3 * lesson.seeds
    assert all(0 < each["bits_per_byte"] < 8 for each in found["measured"])
    scores = {
        name: [each["bits_per_byte"] for each in found["measured"] if each["name"] == name]
        for name in ("bytes", "BPE", "unigram")
    }
    first, second = found["differences"]
    assert (first["name"], second["name"]) == ("bytes less BPE", "unigram less BPE")
    by_seed = [a - b for a, b in zip(scores["bytes"], scores["BPE"], strict=True)]
    assert first["by_seed"] == pytest.approx(by_seed)
    assert "SentencePiece is no alternative to BPE" in shown.seen[-1]
    assert sum("bits per byte" in line for line in lines) == 3 * lesson.seeds
    page = shown.page("command")
    assert "bytes per token" in page


def test_too_few_bytes_are_one_message(nano, tmp_path):
    with pytest.raises(ConfigError, match="--num-bytes=2000 gives bytes .* a larger --num-bytes"):
        prepare(Vocabularies(**nano | {"num_bytes": 2000.0}), tmp_path, print)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": 1}, "--seeds=1 must be at least 2"),
        ({"num_bytes": 0.0}, "--num-bytes=0 must be above zero"),
        ({"batch_tokens": 100}, "--batch-tokens=100 must be a multiple of --seq-len=128"),
        ({"d_model": 0}, "d_model=0 must be above zero"),
    ],
)
def test_settings_out_of_range_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        Vocabularies(**changes)
