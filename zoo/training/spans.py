"""Texts as a source and a target: with spans cut out, or in two halves."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, Key

from configs.parts.objectives import Continuation, SpanCorruption
from zoo.training.row_keys import row_keys

START_ID = 0
"""The id that a decoder reads before the first token of a target: that of padding."""


def without_spans(
    objective: SpanCorruption,
    text: Int[Array, "B T"],
    is_text: Bool[Array, "B T"],
    key: Key[Array, ""],
) -> dict[str, Array]:
    """Return a batch whose source lacks spans of the text, and whose target has them.

    Raffel et al. 2020, section 3.1.4 and Figure 2. Every row has the same numbers of tokens and of
    spans cut out; their lengths are drawn uniformly from all ways to part these numbers. A row
    begins with a token that stays and ends with a span.
    """
    t = text.shape[1]
    num_cut, num_spans = objective.num_cut(t), objective.num_spans(t)
    source_len, target_len = objective.lengths(t)
    number = jnp.arange(num_spans)

    def of_row(key, text, is_text):
        kept_key, cut_key = jax.random.split(key)
        kept = random_parts(kept_key, t - num_cut, num_spans)
        cut = random_parts(cut_key, num_cut, num_spans)
        ends = jnp.cumsum(jnp.stack([kept, cut], axis=1).reshape(-1))
        part = jnp.searchsorted(ends, jnp.arange(t), side="right")  # kept, cut, kept, cut, ...
        is_cut, span = part % 2 == 1, part // 2
        begins = is_cut & ~jnp.roll(is_cut, 1)
        sentinels = objective.first_sentinel - number

        order = jnp.argsort(is_cut & ~begins, stable=True)[:source_len]
        source = jnp.where(begins, objective.first_sentinel - span, text)[order]
        in_source = is_text[order]

        # Before the cut token number r of span j stand r cut tokens and j + 1 sentinels.
        place = jnp.where(is_cut, jnp.cumsum(is_cut) - 1 + span + 1, target_len)
        target = jnp.full(target_len, objective.first_sentinel - num_spans)  # at the very end
        target = target.at[place].set(text, mode="drop")
        in_target = jnp.full(target_len, is_text[0]).at[place].set(is_text, mode="drop")
        first_places = jnp.cumsum(cut) - cut + number
        return source, in_source, target.at[first_places].set(sentinels), in_target

    rows = jax.vmap(of_row)(row_keys(key, text), text, is_text)
    return _batch(*rows)


def random_parts(key: Key[Array, ""], total: int, num_parts: int) -> Int[Array, " parts"]:
    """Return `num_parts` positive numbers that sum to `total`, any such with equal probability."""
    is_border = jnp.arange(total - 1) < num_parts - 1
    borders = jnp.cumsum(jnp.pad(jax.random.permutation(key, is_border), (1, 0)))
    return jnp.bincount(borders, length=num_parts)


def halves(
    objective: Continuation, text: Int[Array, "B T"], is_text: Bool[Array, "B T"]
) -> dict[str, Array]:
    """Return a batch whose source is the first part of each row, and whose target is the rest."""
    cut, _ = objective.lengths(text.shape[1])
    return _batch(text[:, :cut], is_text[:, :cut], text[:, cut:], is_text[:, cut:])


def _batch(
    source: Int[Array, "B S"],
    in_source: Bool[Array, "B S"],
    target: Int[Array, "B U"],
    in_target: Bool[Array, "B U"],
) -> dict[str, Array]:
    """Return the arrays of a batch, and those of the source.

    The decoder reads the target behind a start id; padding has segment 0.
    """
    inputs = jnp.pad(target[:, :-1], ((0, 0), (1, 0)), constant_values=START_ID)
    return {
        "source": jnp.where(in_source, source, START_ID),
        "source_positions": jnp.broadcast_to(jnp.arange(source.shape[1]), source.shape),
        "source_segment_ids": in_source.astype(jnp.int32),
        "inputs": inputs,
        "positions": jnp.broadcast_to(jnp.arange(inputs.shape[1]), inputs.shape),
        "segment_ids": jnp.ones_like(inputs),
        "targets": target,
        "weights": in_target.astype(jnp.float32),
    }
