"""Sequences with hidden tokens, made from rows of text (Devlin et al. 2018, appendix A.1)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, Key

from configs.parts.objectives import MaskedTokens
from zoo.training.row_keys import row_keys

REPLACED, RANDOM = 0.8, 0.1
"""Shares of the predicted tokens that become the mask, and a random token; the others stay."""


def masked(
    objective: MaskedTokens,
    text: Int[Array, "B T"],
    is_text: Bool[Array, "B T"],
    key: Key[Array, ""],
    vocab_size: int,
    *,
    swaps: bool,
) -> dict[str, Array]:
    """Return a batch of sequences [CLS] A [SEP] B [SEP] and what to predict of them.

    The arrays of a batch, and `segments` [B, T], 0 for the first sentence; `at` [B, P], the columns
    of the P tokens to predict; `targets` and `weights` [B, P]; with `swaps`, `is_other` [B], 1 if B
    is from another row, and `pair_weights` [B], which sum to 1.

    Args:
      is_text: False on padding, which is at the end of a row.
      swaps: in half of the rows, B comes from the row before.
    """
    t, room = text.shape[1], text.shape[1] - 3
    keys = jax.vmap(lambda key: jax.random.split(key, 5))(row_keys(key, text))
    text, is_text = text[:, :room], is_text[:, :room]
    has_text = is_text.any(axis=1)

    length = jax.vmap(lambda key: jax.random.randint(key, (), 1, room))(keys[:, 0])[:, None]
    is_other = jnp.zeros(len(text), bool)
    if swaps:
        is_other = jax.vmap(jax.random.bernoulli)(keys[:, 1]) & jnp.roll(has_text, 1) & has_text
        is_swapped = is_other[:, None] & (jnp.arange(room) >= length)
        text, is_text = (
            jnp.where(is_swapped, jnp.roll(rows, 1, axis=0), rows) for rows in (text, is_text)
        )

    column = jnp.arange(t)
    in_first = column <= length  # [CLS] and A; then come [SEP], B and [SEP]
    is_mark = (column == 0) | (column == length + 1) | (column == t - 1)
    source = jnp.clip(jnp.where(in_first, column - 1, column - 2), 0, room - 1)
    is_text = jnp.take_along_axis(is_text, source, axis=1) & ~is_mark
    tokens = jnp.where(is_text, jnp.take_along_axis(text, source, axis=1), 0)
    tokens = jnp.where(is_mark, objective.sep_id, tokens).at[:, 0].set(objective.cls_id)

    num = max(1, round(objective.rate * room))
    draws = jax.vmap(lambda key: jax.random.uniform(key, (t,)))(keys[:, 2])
    at = jax.lax.top_k(jnp.where(is_text, draws, -1.0), num)[1]  # the columns of the largest draws
    wanted = jnp.maximum(1, jnp.round(objective.rate * is_text.sum(axis=1, keepdims=True)))
    is_wanted = (jnp.arange(num) < wanted) & has_text[:, None]
    order = jnp.argsort(at, axis=1)
    at, is_wanted = (jnp.take_along_axis(x, order, axis=1) for x in (at, is_wanted))
    targets = jnp.take_along_axis(tokens, at, axis=1)

    fate = jax.vmap(lambda key: jax.random.uniform(key, (num,)))(keys[:, 3])
    drawn = jax.vmap(lambda key: jax.random.randint(key, (num,), 0, vocab_size))(keys[:, 4])
    shown = jnp.where(fate < REPLACED + RANDOM, drawn, targets)
    shown = jnp.where(fate < REPLACED, objective.mask_id, shown)
    shown = jnp.where(is_wanted, shown, targets)
    inputs = jax.vmap(lambda row, at, shown: row.at[at].set(shown))(tokens, at, shown)

    batch = {
        "inputs": inputs,
        "positions": jnp.broadcast_to(column, inputs.shape),
        "segment_ids": (is_text | (is_mark & has_text[:, None])).astype(jnp.int32),
        "segments": (column > length + 1).astype(jnp.int32),
        "at": at,
        "targets": targets,
        "weights": is_wanted.astype(jnp.float32),
    }
    if swaps:
        batch["is_other"] = is_other.astype(jnp.int32)
        batch["pair_weights"] = has_text / jnp.maximum(1, has_text.sum())
    return batch
