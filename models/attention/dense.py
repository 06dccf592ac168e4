"""Attention with all scores at once, where the mask is not that of the past.

The sequences of an encoder are short, and the scores of one are small beside its activations.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from models.attention.blocks import Dropout
from models.dropout import dropout
from models.linear import product


def attend(
    query: Float[Array, "B T N H"],
    key: Float[Array, "B S K H"],
    value: Float[Array, "B S K H"],
    mask: Bool[Array, "B T S"],
    score_bias: Float[Array, "N T S"] | None,
    drop: Dropout,
) -> Float[Array, "B T N H"]:
    """Mix the values that each query sees; `query` is scaled by 1 / sqrt(H).

    Args:
      mask: True where a query sees a key.
      score_bias: is added to the scores.
    """
    weights = dropout(attention_weights(query, key, mask, score_bias), drop.rate, drop.key)
    b, n, t, s = weights.shape
    k = value.shape[2]
    weights = weights.astype(value.dtype).reshape(b, k, n // k, t, s)
    mixed = product("bkgts,bskh->btkgh", weights, value)
    return mixed.reshape(query.shape).astype(query.dtype)


def attention_weights(
    query: Float[Array, "B T N H"],
    key: Float[Array, "B S K H"],
    mask: Bool[Array, "B T S"],
    score_bias: Float[Array, "N T S"] | None,
) -> Float[Array, "B N T S"]:
    """Return the weight that each query gives to each key, in float32."""
    b, t, n, h = query.shape
    s, k = key.shape[1:3]
    scores = product("btkgh,bskh->bkgts", query.reshape(b, t, k, n // k, h), key)
    scores = scores.reshape(b, n, t, s)
    if score_bias is not None:
        scores = scores + score_bias
    scores = jnp.where(mask[:, None], scores, jnp.finfo(scores.dtype).min)
    return jax.nn.softmax(scores, axis=-1)
