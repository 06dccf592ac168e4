"""The keys and values that queries attend to, and the cache that keeps them while decoding."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from models.positions import Positions, slice_tokens


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Keys:
    """One layer's keys and values, and which of them belongs to the first query."""

    key: Float[Array, "B S K H"]
    value: Float[Array, "B S K H"]
    positions: Positions
    """Positions of the S keys."""
    distance_keys: Float[Array, "M N H"] | None
    """Projected sinusoids of the distances 0 to M - 1; None without relative positions."""
    query_offset: int | Int[Array, ""]
    """Query t is the token of key `query_offset + t`."""

    def visible_to(self, start: int, stop: int, window: int | None) -> "Keys":
        """Return the keys that the queries `start` to `stop` - 1 can see.

        The query offset of the result counts from query `start`. If the offset is known while
        tracing, the result holds exactly the visible keys; otherwise it is a superset of them whose
        length is known.
        """
        num_keys = self.key.shape[1]
        lookback = 0 if window is None else window - 1
        if isinstance(self.query_offset, int):
            begin = 0 if window is None else max(0, self.query_offset + start - lookback)
            length = self.query_offset + stop - begin
        elif window is None:
            begin, length = 0, num_keys
        else:
            length = min(num_keys, stop - start + lookback)
            begin = jnp.clip(self.query_offset + start - lookback, 0, num_keys - length)
        key, value, positions = slice_tokens((self.key, self.value, self.positions), begin, length)
        return Keys(key, value, positions, self.distance_keys, self.query_offset + start - begin)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class KVCache:
    """Keys and values of the tokens seen so far, in buffers of a fixed length S."""

    keys: Float[Array, "L S B K H"]
    """Length before batch: on a TPU, XLA uses this layout for buffers written one position at a
    time; it would copy a cache in any other order at every call."""
    values: Float[Array, "L S B K H"]
    positions: Positions
    """Positions of the S cells. An empty cell has segment 0, which no token attends to."""
    length: Int[Array, ""]
    """Number of cells written; the next token goes into cell `length`."""
    distance_keys: Float[Array, "L S N H"] | None
    """Projected sinusoids of the distances 0 to S - 1, computed once because they are the same at
    every step; None without relative positions."""

    def append_positions(self, positions: Positions) -> "KVCache":
        """Return the cache with T more cells reserved, which each layer fills with `append`."""

        def write(cells: Array, new: Array) -> Array:
            return jax.lax.dynamic_update_slice_in_dim(cells, new, self.length, axis=1)

        return dataclasses.replace(
            self,
            positions=jax.tree.map(write, self.positions, positions),
            length=self.length + positions.index.shape[1],
        )

    def append(
        self,
        layer: Int[Array, ""],
        key: Float[Array, "B T K H"],
        value: Float[Array, "B T K H"],
    ) -> "KVCache":
        """Write one layer's T newest keys and values, in place if jit has donated the buffers."""
        start = (layer, self.length - key.shape[1], 0, 0, 0)

        def write(cells: Array, new: Array) -> Array:
            new = new.swapaxes(0, 1)[None].astype(cells.dtype)  # 1 T B K H
            return jax.lax.dynamic_update_slice(cells, new, start)

        return dataclasses.replace(
            self, keys=write(self.keys, key), values=write(self.values, value)
        )

    def keys_of(self, layer: Int[Array, ""], num_queries: int) -> Keys:
        """Return one layer's keys and values; its queries are the newest `num_queries` tokens."""
        key, value = (cells[layer].swapaxes(0, 1) for cells in (self.keys, self.values))  # B S K H
        distance_keys = None if self.distance_keys is None else self.distance_keys[layer]
        return Keys(key, value, self.positions, distance_keys, self.length - num_queries)
