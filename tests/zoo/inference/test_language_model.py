"""Sampling and scoring text with a model in memory."""

import dataclasses
import math

import jax
import numpy as np
import pytest
from flax import nnx

from data.vocabularies.hugging_face import vocabulary_from_hf
from data.vocabularies.lossless import LosslessVocabulary, train_vocabulary
from models.config import ConfigError
from tests.models import experiments, samples
from tests.zoo import hf_folders
from zoo.inference.decode import Sampling
from zoo.inference.language_model import LanguageModel, Score

CONTEXT = 31
# The embedding has more rows than the vocabulary has tokens, as when a size is rounded up.
CONFIG = dataclasses.replace(
    samples.PALM, vocab_size=331, context_length=CONTEXT, biases=("logits",)
)
TEXT = "a model reads tokens é€😀"


@pytest.fixture(scope="module")
def vocabulary() -> LosslessVocabulary:
    return train_vocabulary(["a model reads tokens and learns which comes next\n" * 20], 290)


@pytest.fixture(scope="module")
def model(vocabulary: LosslessVocabulary) -> LanguageModel:
    return with_logit_bias(vocabulary, np.zeros(CONFIG.vocab_size))


def with_logit_bias(vocabulary: LosslessVocabulary, bias: np.ndarray) -> LanguageModel:
    transformer = samples.random_model(CONFIG)
    assert transformer.logit_bias is not None
    transformer.logit_bias[...] = jax.numpy.asarray(bias, "float32")
    graphdef, params = nnx.split(transformer, nnx.Param)
    experiment = dataclasses.replace(experiments.PALM, model=CONFIG)
    return LanguageModel(experiment, graphdef, params, vocabulary)


def test_the_stream_joined_is_the_sample(model: LanguageModel):
    prompts = ["a model", "", "tokens and"]
    sampling = Sampling(temperature=2.0)
    stream = list(model.stream(prompts, max_tokens=13, sampling=sampling, seed=5))
    assert len(stream) > 1
    joined = ["".join(additions) for additions in zip(*stream, strict=True)]
    assert joined == model.sample(prompts, max_tokens=13, sampling=sampling, seed=5)
    assert all(joined)


def test_sample_is_the_text_of_the_likeliest_tokens(
    model: LanguageModel, vocabulary: LosslessVocabulary
):
    (text,) = model.sample(["a model"], max_tokens=1, sampling=Sampling(temperature=0))
    ids = [vocabulary.bos_id, *vocabulary.encode("a model")]
    logits = np.array(model.logits([ids])[0, -1])
    logits[[vocabulary.pad_id, vocabulary.unk_id, vocabulary.bos_id]] = -np.inf
    assert text == vocabulary.decode([int(logits[: vocabulary.size].argmax())])


def test_the_last_space_of_a_prompt_is_left_to_the_model(
    model: LanguageModel, vocabulary: LosslessVocabulary
):
    """The first token begins with the prompt's last space, which is not shown again."""
    stream = model.stream(["a model ", "a model"], max_tokens=2, sampling=Sampling(temperature=0))
    spaced, plain = next(stream)
    logits = np.array(model.logits([[vocabulary.bos_id, *vocabulary.encode("a model")]])[0, -1])
    likeliest = max(
        (i for i in range(vocabulary.size) if vocabulary.bytes_of(i).startswith(b" ")),
        key=lambda i: logits[i],
    )
    assert " " + spaced == vocabulary.decode([likeliest])
    assert plain == model.sample(["a model"], max_tokens=1, sampling=Sampling(temperature=0))[0]


def test_marks_and_unused_ids_are_never_drawn_and_the_end_stops_a_row(
    vocabulary: LosslessVocabulary,
):
    bias = np.zeros(CONFIG.vocab_size)
    bias[[vocabulary.pad_id, vocabulary.unk_id, vocabulary.bos_id]] = 1e4
    bias[vocabulary.size :] = 1e4
    bias[vocabulary.eos_id] = 1e3
    model = with_logit_bias(vocabulary, bias)
    assert list(model.stream(["a", "model"], max_tokens=13)) == [["", ""], ["", ""]]

    bias[vocabulary.eos_id] = 0
    (letter,) = vocabulary.encode("x")
    bias[letter] = 1e3
    assert with_logit_bias(vocabulary, bias).sample(["a"], max_tokens=5) == ["xxxxx"]


def test_a_sample_ends_where_the_context_does(vocabulary: LosslessVocabulary):
    bias = np.zeros(CONFIG.vocab_size)
    (letter,) = vocabulary.encode("x")
    bias[letter] = 1e3
    model = with_logit_bias(vocabulary, bias)
    # BOS and the letters are the context's; one more token comes out at its end.
    prompt = "x" * 20
    assert model.sample([prompt], max_tokens=99) == ["x" * (CONTEXT - 20)]


def test_what_cannot_be_sampled_is_refused(model: LanguageModel):
    with pytest.raises(ConfigError, match=f"{CONTEXT + 1} tokens .* context_length is {CONTEXT}"):
        model.sample(["x", "x" * CONTEXT])
    with pytest.raises(ConfigError, match="max_tokens=0"):
        model.sample(["x"], max_tokens=0)
    assert model.sample([]) == []


@pytest.mark.parametrize("repeats", [1, 7], ids=["one window", "several windows"])
def test_score_is_the_summed_log_softmax_of_the_logits(model: LanguageModel, repeats: int):
    text = TEXT * repeats
    ids = [model.vocabulary.bos_id, *model.vocabulary.encode(text)]
    assert (len(ids) > 2 * CONTEXT) == (repeats > 1)
    expected = 0.0
    for start in range(0, len(ids) - 1, CONTEXT):
        window = ids[start : start + CONTEXT + 1]
        padded = window[:-1] + [0] * (CONTEXT + 1 - len(window))
        logits = np.asarray(model.logits([padded])[0], np.float64)
        for row, target in zip(logits, window[1:], strict=False):
            expected += row[target] - np.log(np.exp(row).sum())
    (score,) = model.score([text])
    assert score.log_probability == pytest.approx(expected, rel=1e-5)
    assert score.num_tokens == len(ids) - 1
    assert score.num_bytes == len(text.encode())


def test_bits_per_byte_are_base_two_logarithms_over_bytes():
    assert Score(-math.log(2) * 24, num_tokens=3, num_bytes=8).bits_per_byte == pytest.approx(3)
    assert math.isnan(Score(0.0, num_tokens=0, num_bytes=0).bits_per_byte)


def test_scores_come_one_a_text(model: LanguageModel):
    first, empty, again = model.score([TEXT, "", TEXT])
    assert first == again
    assert empty.log_probability == 0


def test_a_vocabulary_without_marks_begins_with_the_prompt_and_ends_nowhere(
    model: LanguageModel, tmp_path
):
    hf_folders.write_bpe(tmp_path)
    files = {"tokenizer.json": (tmp_path / "tokenizer.json").read_bytes()}
    unmarked = dataclasses.replace(model, vocabulary=vocabulary_from_hf(files, {}))
    ids = unmarked.vocabulary.encode("a model")
    (score,) = unmarked.score(["a model"])
    log_p = jax.nn.log_softmax(model.logits([ids])[0])
    expected = sum(float(log_p[i, token]) for i, token in enumerate(ids[1:]))
    assert score.num_tokens == len(ids) - 1
    assert score.log_probability == pytest.approx(expected, rel=1e-5)
    assert len(unmarked.sample(["a model"], max_tokens=5)) == 1
    with pytest.raises(ConfigError, match="has no tokens, .* write a prompt"):
        unmarked.sample([""])
