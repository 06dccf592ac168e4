import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

import data
from data.config import VocabularyStyle
from data.errors import DataConfigError, DataError
from data.vocabularies import styles
from data.vocabularies.files import vocabulary_from_files
from data.vocabularies.styles import DESCRIPTIONS, cached_vocabulary, train
from tests.data.samples import small_documents
from tests.data.vocabularies.test_lossless import unicode_texts

TEXTS = [document.text for document in small_documents(60)]
SIZE = 330
STYLES = get_args(VocabularyStyle)
LOSSLESS = [(style, "bpe") for style in ("jurassic1", "chinchilla", "palm", "llama", "gpt2")]


@pytest.fixture(scope="module")
def trained():
    """Each kind once."""
    kinds: list[tuple[Any, Any]] = [*((s, "bpe") for s in STYLES), ("palm", "unigram")]
    return {kind: train(TEXTS, SIZE, *kind) for kind in kinds}


@given(st.sampled_from([*LOSSLESS, ("palm", "unigram")]), unicode_texts)
@settings(max_examples=300)
def test_decoding_gives_back_the_text(trained, kind, text):
    learned = trained[kind]
    if kind == ("llama", "bpe"):
        text = text.replace("\u2581", "")  # Meta's tokenizer reads it as a space
    ids = learned.encode(text)
    assert learned.decode(ids) == text
    marks = {learned.bos_id, learned.eos_id, learned.pad_id, learned.unk_id}
    assert not marks & set(ids)
    assert all(0 <= token_id < learned.size for token_id in ids)
    assert learned.num_bytes(text, ids) == len(text.encode())


@pytest.mark.parametrize("text", ["<|endoftext|>", "a <|endoftext|> b", "</s><s>"])
@pytest.mark.parametrize("kind", LOSSLESS)
def test_a_text_that_spells_a_mark_is_text(trained, kind, text):
    assert trained[kind].decode(trained[kind].encode(text)) == text


def test_only_gpt1_and_gopher_change_text(trained):
    assert {style for style, _ in trained if not trained[style, "bpe"].keeps_text} == {
        "gpt1",
        "gopher",
    }


@given(st.sampled_from(["gpt1", "gopher"]), unicode_texts)
def test_bytes_are_those_of_the_changed_text(trained, style, text):
    learned = trained[style, "bpe"]
    ids = learned.encode(text)
    assert learned.as_decoded(text) == learned.decode(ids)
    assert learned.num_bytes(text, ids) == len(learned.decode(ids).encode())


@given(st.sampled_from(STYLES), unicode_texts)
def test_a_stream_shows_the_text(trained, style, text):
    learned = trained[style, "bpe"]
    ids = learned.encode(text)
    decoder = learned.stream_decoder()
    assert "".join(map(decoder.feed, ids)) + decoder.flush() == learned.decode(ids)


def test_the_sizes_are_those_asked_for(trained):
    sizes = {kind: each.size for kind, each in trained.items()}
    assert sizes.pop(("palm", "unigram")) <= SIZE
    assert sizes.pop(("gpt1", "bpe")) <= SIZE
    assert set(sizes.values()) == {SIZE}


def test_every_style_is_described():
    assert set(DESCRIPTIONS) == set(STYLES)


def test_the_files_give_every_vocabulary_back(trained):
    for learned in trained.values():
        again = vocabulary_from_files(learned.to_files())
        assert type(again) is type(learned)
        assert again.fingerprint == learned.fingerprint
        for name in ("bos_id", "eos_id", "pad_id", "unk_id", "size"):
            assert getattr(again, name) == getattr(learned, name)
        assert again.encode(TEXTS[0]) == learned.encode(TEXTS[0])


def test_gopher_normalises_as_the_paper_did(trained):
    gopher = trained["gopher", "bpe"]
    assert gopher.decode(gopher.encode("\ufb01ne \u2460\uff21")) == "fine 1A"


def test_only_some_split_digits(trained):
    digits = {kind: len(each.encode("24682468")) for kind, each in trained.items()}
    assert digits["palm", "bpe"] == 8
    assert digits["llama", "bpe"] == 9  # and the space before the text
    repeated = train(["the year 2024 and 2024\n" * 40] * 20, 300, "chinchilla")
    assert len(repeated.encode("2024")) < 4


def test_jurassics_pieces_cross_words_without_a_limit(trained):
    jurassic, palm = trained["jurassic1", "bpe"], trained["palm", "bpe"]
    phrase = "        return value * "
    assert len(jurassic.encode(phrase)) < len(palm.encode(phrase))
    saying = "the quick brown fox jumps over the lazy dog"
    varied = [f"{saying}{mark}" for mark in "abcdefghij"] * 20
    long = train(varied, 330, "jurassic1")
    longest = max(len(long.decode([token_id])) for token_id in range(long.size))
    assert longest > 16
    assert long.decode(long.encode(saying)) == saying


def test_gpt2_has_one_mark_the_last_id(trained):
    gpt2 = trained["gpt2", "bpe"]
    assert gpt2.bos_id == gpt2.eos_id == SIZE - 1
    assert gpt2.pad_id is gpt2.unk_id is None


def test_llama_has_metas_ids_and_a_space_before_the_text(trained):
    llama = trained["llama", "bpe"]
    assert (llama.unk_id, llama.bos_id, llama.eos_id, llama.pad_id) == (0, 1, 2, None)
    assert llama.encode("return x")[: len(llama.encode("return"))] == llama.encode("return")
    assert llama.begins_with_space(llama.encode("return")[0])
    first_byte = llama.encode("\x00")[-1]
    assert first_byte == 3  # the 256 bytes follow the marks


@pytest.mark.parametrize(
    ("size", "style", "model_type", "message"),
    [
        (9999, "palm", "bpe", "9999 is more than the training text has tokens for"),
        (9999, "gpt2", "bpe", r"vocab_size=9999 is more than .* set it to at most \d+, or add"),
        (256, "gpt2", "bpe", "vocab_size=256 has no room for 256 bytes and a special token"),
        (300, "gpt2", "unigram", "--model-type=unigram does not apply .*style='gpt2'"),
        (300, "gpt1", "unigram", "--model-type=unigram does not apply .*style='gpt1'"),
    ],
)
def test_what_cannot_be_trained_is_explained(size, style, model_type, message):
    with pytest.raises(DataConfigError, match=message):
        train(TEXTS, size, style, model_type)


def test_another_process_trains_the_same_vocabularies():
    """Also where the order of sets and hash maps differs."""
    code = (
        "import sys; from data.vocabularies.styles import train; from pathlib import Path;"
        "texts = [Path(path).read_text() for path in sys.argv[1:]];"
        "print([train(texts, 400, style).fingerprint for style in ('gpt1', 'gpt2')])"
    )
    files = [str(path) for path in sorted(Path(data.__file__).parent.glob("*.py"))]
    one, other = (
        subprocess.run(
            [sys.executable, "-c", code, *files],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    )
    assert one == other != ""


def test_a_vocabulary_is_trained_once(tmp_path, monkeypatch):
    lines: list[str] = []
    cached = functools.partial(cached_vocabulary, folder=tmp_path, report=lines.append)
    upper = [text.upper() for text in TEXTS]
    learned = {
        "first": cached(TEXTS, "text", 320, "palm"),
        "size": cached(TEXTS, "text", 330, "palm"),
        "text": cached(upper, "TEXT", 320, "palm"),
        **{style: cached(TEXTS, "text", 320, style) for style in STYLES if style != "palm"},
    }
    assert len({each.fingerprint for each in learned.values()}) == len(learned) == len(lines)
    assert "320 tokens in palm style (PaLM's" in lines[0]
    assert "trained in" in lines[0]
    monkeypatch.delattr(styles, "train")
    unread = iter(lambda: pytest.fail("read again"), None)
    for style in STYLES:
        again = cached(unread, "text", 320, style)
        assert again.fingerprint == learned["first" if style == "palm" else style].fingerprint
        assert lines.pop().endswith("from the cache")


def test_the_cached_vocabularies_of_earlier_versions_are_found(tmp_path):
    # The name that the version before styles gave to this key and size.
    name = "2c8a21c638382efd94435968b0cc0cb104474c12d24a06f0afff71593060515c.model"
    assert styles._cache_path("text", 320, "palm", tmp_path).name == name


def test_a_damaged_cached_vocabulary_is_named(tmp_path):
    for style in ("palm", "gpt1", "llama"):
        cached_vocabulary(TEXTS, style, 320, style, tmp_path, print)
        path = styles._cache_path(style, 320, style, tmp_path)
        path.write_bytes(path.read_bytes()[:500])
        with pytest.raises(DataError, match=f"{path}: .*; delete it"):
            cached_vocabulary(TEXTS, style, 320, style, tmp_path, print)


@pytest.mark.parametrize(
    ("style", "model_type"),
    [("gpt1", "openai-gpt"), ("gpt2", "gpt2"), ("llama", "llama"), ("gopher", "llama")],
)
def test_transformers_reads_the_files(trained, style, model_type, tmp_path):
    learned = trained[style, "bpe"]
    for name, content in learned.to_files().items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text in (*TEXTS[:5], "\ufb01ne \u2460\n\n  don't Stop, 12\t\u00e9\U0001f600 "):
        ids = tokenizer(text, add_special_tokens=False).input_ids
        assert ids == learned.encode(text)
        assert tokenizer.decode(ids, skip_special_tokens=True) == learned.decode(ids)
    if style == "llama":
        assert tokenizer("a").input_ids[0] == tokenizer.bos_token_id == learned.bos_id
        assert tokenizer.eos_token_id == learned.eos_id
