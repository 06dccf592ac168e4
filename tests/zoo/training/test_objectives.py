"""What each objective shows of a batch, and that it is learned."""

import dataclasses
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import configs
from configs.experiment import Experiment
from configs.parts.objectives import Continuation, MaskedTokens, SpanCorruption
from models.config import ConfigError
from zoo.training.masking import masked
from zoo.training.objectives import check_ids, shown
from zoo.training.spans import START_ID, halves, random_parts, without_spans
from zoo.training.step import make_steps

B, T, V = 8, 64, 509
MASKED = MaskedTokens(cls_id=509, sep_id=510, mask_id=511)
SPANS = SpanCorruption(first_sentinel=511)
NAMES = ["bert_nano", "t5_nano", "transformer_nano"]
TEXT = jnp.asarray(np.random.default_rng(0).integers(1, 400, size=(B, T)))
WHOLE = jnp.ones((B, T), bool)
KEY = jax.random.key(3)


def batch(text: jax.Array = TEXT, is_text: jax.Array = WHOLE) -> dict[str, jax.Array]:
    """A batch of text as the data pipeline makes it."""
    return {
        "inputs": text,
        "targets": jnp.roll(text, -1, axis=1),
        "positions": jnp.broadcast_to(jnp.arange(T), text.shape),
        "segment_ids": is_text.astype(jnp.int32),
        "weights": is_text.astype(jnp.float32),
    }


def undamaged(example: dict[str, jax.Array]) -> np.ndarray:
    """The sequences with every hidden token put back."""
    rows = np.array(example["inputs"])
    np.put_along_axis(rows, np.asarray(example["at"]), np.asarray(example["targets"]), axis=1)
    return rows


def test_a_sequence_is_two_parts_of_a_row_between_marks():
    example = masked(MASKED, TEXT, WHOLE, KEY, 512, swaps=False)
    for row, segments, text in zip(undamaged(example), example["segments"], TEXT, strict=True):
        assert row[0] == 509 and row[-1] == 510
        (first, last) = np.flatnonzero(row == 510)
        assert last == T - 1 and 2 <= first <= T - 3
        np.testing.assert_array_equal(
            np.concatenate([row[1:first], row[first + 1 : -1]]), text[: T - 3]
        )
        np.testing.assert_array_equal(segments, np.arange(T) > first)


def test_a_swapped_sequence_ends_with_text_of_the_row_before():
    example = masked(MASKED, TEXT, WHOLE, KEY, 512, swaps=True)
    is_other = np.asarray(example["is_other"])
    assert set(is_other) == {0, 1}
    np.testing.assert_allclose(example["pair_weights"], 1 / B)
    for number, row in enumerate(undamaged(example)):
        first = np.flatnonzero(row == 510)[0]
        origin = TEXT[number - 1] if is_other[number] else TEXT[number]
        np.testing.assert_array_equal(row[first + 1 : -1], origin[first - 1 : T - 3])


def test_fifteen_percent_are_predicted_and_most_of_them_hidden():
    text = jnp.asarray(np.random.default_rng(1).integers(1, 400, size=(500, T)))
    example = masked(MASKED, text, jnp.ones_like(text, bool), KEY, 512, swaps=False)
    at, targets = np.asarray(example["at"]), np.asarray(example["targets"])
    assert at.shape == (500, round(0.15 * (T - 3)))
    assert all(len(set(row)) == len(row) for row in at.tolist())
    assert (np.asarray(example["weights"]) == 1).all()
    assert not set(targets.reshape(-1).tolist()) & {509, 510}
    seen = np.take_along_axis(np.asarray(example["inputs"]), at, axis=1)
    assert (seen == 511).mean() == pytest.approx(0.8, abs=0.02)
    assert (seen == targets).mean() == pytest.approx(0.1, abs=0.02)
    differs = np.zeros((500, T), bool)
    np.put_along_axis(differs, at, seen != targets, axis=1)
    np.testing.assert_array_equal(np.asarray(example["inputs"]) != undamaged(example), differs)


def test_padding_is_neither_seen_nor_predicted():
    is_text = WHOLE.at[0, 20:].set(False).at[1].set(False)
    example = masked(MASKED, TEXT, is_text, KEY, 512, swaps=True)
    weights = np.asarray(example["weights"])
    assert weights[0].sum() == 3 and weights[1].sum() == 0
    hidden = np.asarray(example["at"])[0][weights[0] > 0]
    assert (np.asarray(example["segment_ids"])[0][hidden] == 1).all()
    assert np.asarray(example["segment_ids"])[1].sum() == 0
    assert example["pair_weights"][1] == 0 and example["is_other"][2] == 0


@pytest.mark.parametrize("name", NAMES)
def test_what_a_row_shows_depends_on_the_row_and_the_key_alone(name: str):
    run = configs.get(name)
    one, other = shown(run, batch(), None), shown(run, batch(TEXT[::-1]), None)
    for array in one:
        np.testing.assert_array_equal(one[array], other[array][::-1])
    drawn = [shown(run, batch(), key) for key in (KEY, KEY, jax.random.key(4))]
    assert all((drawn[0][array] == drawn[1][array]).all() for array in one)
    differs = [array for array in one if (drawn[0][array] != drawn[2][array]).any()]
    assert bool(differs) is not isinstance(run.objective, Continuation)


def joined(source: list[int], target: list[int]) -> list[int]:
    """The text that a source and its spans make."""
    spans: dict[int, list[int]] = {}
    for token in target:
        if token > V - 40:
            spans[token] = current = []
        else:
            current.append(token)
    return [token for word in source for token in spans.get(word, [word])]


def test_source_and_target_make_the_text():
    example = without_spans(SPANS, TEXT, WHOLE, KEY)
    source_len, target_len = SPANS.lengths(T)
    assert example["source"].shape == (B, source_len)
    assert example["targets"].shape == (B, target_len)
    for source, target, text in zip(
        example["source"].tolist(), example["targets"].tolist(), TEXT.tolist(), strict=True
    ):
        assert joined(source, target) == text
        sentinels = [511 - number for number in range(SPANS.num_spans(T) + 1)]
        assert [token for token in target if token > V - 40] == sentinels
        assert target[-1] == sentinels[-1]
    np.testing.assert_array_equal(example["inputs"][:, 1:], example["targets"][:, :-1])
    assert (example["inputs"][:, 0] == START_ID).all()


def test_a_span_has_three_tokens_on_average_and_all_places_are_cut_alike():
    text = jnp.asarray(np.random.default_rng(1).integers(1, 400, size=(2000, T)))
    example = without_spans(SPANS, text, jnp.ones_like(text, bool), KEY)
    num_cut, num_spans = SPANS.num_cut(T), SPANS.num_spans(T)
    assert (num_cut, num_spans) == (10, 3)
    parts = jax.vmap(lambda key: random_parts(key, num_cut, num_spans))(jax.random.split(KEY, 3000))
    assert (parts.sum(axis=1) == num_cut).all() and parts.min() == 1
    # All ways to part 10 into 3 positive numbers, 36 of them, are equally likely.
    _, counts = np.unique(np.asarray(parts), axis=0, return_counts=True)
    assert len(counts) == 36
    assert counts.std() < 3 * np.sqrt(3000 / 36)
    assert (example["weights"] == 1).all()


def test_spans_of_padding_do_not_count():
    is_text = WHOLE.at[0, 30:].set(False).at[1].set(False)
    example = without_spans(SPANS, TEXT, is_text, KEY)
    assert example["weights"][1].sum() == 0 and example["source_segment_ids"][1].sum() == 0
    cut = int(example["weights"][0].sum())
    assert 0 < cut < SPANS.lengths(T)[1]


def test_a_continuation_is_the_second_part_of_the_row():
    example = halves(Continuation(source_share=0.25), TEXT, WHOLE)
    np.testing.assert_array_equal(example["source"], TEXT[:, :16])
    np.testing.assert_array_equal(example["targets"], TEXT[:, 16:])
    np.testing.assert_array_equal(example["inputs"][:, 1:], TEXT[:, 16:-1])


def tiny(name: str, **changes) -> Experiment:
    run = configs.get(name)
    model = dataclasses.replace(run.model, dropout_rate=0.0)
    execution = dataclasses.replace(run.execution, dtype="float32")
    return dataclasses.replace(run, model=model, execution=execution, **changes)


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_seen_again_and_again_is_learned(name: str):
    """Also what is hidden of it anew in every step: the model learns the text by heart."""
    run = tiny(name, num_steps=150)
    steps = make_steps(run)
    state, train_step = jax.jit(steps.init)(), jax.jit(steps.train_step)
    losses = []
    for _ in range(150):
        state, metrics = train_step(state, batch())
        losses.append(float(metrics["train/loss"]))
    assert losses[0] > 5.5
    assert np.mean(losses[-10:]) < losses[0] - 1
    assert ("train/next_sentence_loss" in metrics) is (name == "bert_nano")
    if name == "bert_nano":
        assert 0 < metrics["train/next_sentence_loss"] < 1
    assert np.isfinite(float(jax.jit(steps.eval_step)(state.params, batch()).nats))


@pytest.mark.parametrize("name", NAMES)
def test_accumulation_gives_the_gradient_of_the_whole_batch(name: str):
    found = []
    for micro_batches in (1, 4):
        steps = make_steps(tiny(name, micro_batches=micro_batches))
        _, metrics = jax.jit(steps.train_step)(jax.jit(steps.init)(), batch())
        found.append((metrics["train/loss"], metrics["train/grad_norm"]))
    np.testing.assert_allclose(*found, rtol=1e-5)


class Words:
    """A vocabulary in which ids below `size` are words, but `marks` are none."""

    size = 100

    def decode(self, ids: list[int]) -> str:
        return "" if ids[0] == 7 else "word"


def test_a_mark_that_is_an_ordinary_token_is_refused():
    vocabulary = cast(Any, Words())
    check_ids(MaskedTokens(cls_id=7, sep_id=100, mask_id=101), vocabulary, 64)
    with pytest.raises(ConfigError, match=r"\[8\] are ordinary tokens.*--data.vocabulary-size=7"):
        check_ids(MaskedTokens(cls_id=7, sep_id=8, mask_id=101), vocabulary, 64)
    with pytest.raises(ConfigError, match=r"\[99\] are ordinary tokens"):
        check_ids(SpanCorruption(first_sentinel=102), vocabulary, 64)
