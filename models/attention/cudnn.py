"""cuDNN's fused attention for NVIDIA GPUs, by JAX's public function."""

import functools

import jax
from jaxtyping import Array, Float

from models.attention.blocks import Queries
from models.attention.ring import KeyValues
from models.axes import on_each_device


def attend(queries: Queries, keys: KeyValues, window: int | None) -> Float[Array, "B T N H"]:
    """Attend to the tokens of the row that are not later: every row must be one document, with its
    padding at the end.
    """
    attend_to_earlier = functools.partial(
        jax.nn.dot_product_attention,
        scale=1.0,  # the queries are scaled
        is_causal=True,
        local_window_size=None if window is None else (window - 1, 0),
        implementation="cudnn",
    )
    wide, narrow = ("batch", None, "heads", None), ("batch", None, "kv_heads", None)
    on_devices = on_each_device(attend_to_earlier, (wide, narrow, narrow), wide)
    return on_devices(queries.content, keys.key, keys.value)
