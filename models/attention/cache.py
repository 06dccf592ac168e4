"""The keys and values that queries attend to, and the cache that keeps them while decoding."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from models.axes import constrain
from models.positions import Positions, slice_tokens

BLOCK = 128
"""Cells that attention reads at a time: only blocks that hold tokens are read."""
MOST_NEW = 16
"""Tokens that may be added at a time to a ring that is not empty."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Keys:
    """One layer's keys and values, and which of them belongs to the first query."""

    key: Float[Array, "B S K H"]
    value: Float[Array, "B S K H"]
    positions: Positions
    """Positions of the S keys."""
    distance_keys: Float[Array, "M N E"] | None
    """Projected sinusoids of the distances 0 to M - 1; None without relative positions."""
    query_offset: int | Int[Array, ""]
    """Query t is the token of key `query_offset + t`. In a ring of cells it means nothing; no model
    with relative positions has one."""

    def visible_to(self, num_queries: int, window: int | None) -> "Keys":
        """Return the keys that the queries can see.

        If the offset is known while tracing, the result holds exactly these keys; otherwise it is a
        superset of them whose length is known.
        """
        num_keys = self.key.shape[1]
        lookback = 0 if window is None else window - 1
        if isinstance(self.query_offset, int):
            begin = 0 if window is None else max(0, self.query_offset - lookback)
            length = self.query_offset + num_queries - begin
        elif window is None:
            begin, length = 0, num_keys
        else:
            length = min(num_keys, num_queries + lookback)
            begin = jnp.clip(self.query_offset - lookback, 0, num_keys - length)
        key, value, positions = slice_tokens((self.key, self.value, self.positions), begin, length)
        return Keys(key, value, positions, self.distance_keys, self.query_offset - begin)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Cells:
    """One layer's keys and values in a ring of C cells: token n is in cell n modulo C.

    C is at least the number of tokens, or else what the layer's window and the newest tokens need.
    """

    keys: Float[Array, "B K C H"]
    """A head's cells are contiguous, as the products read them: on a CPU, half the time of any
    other order."""
    values: Float[Array, "B K C H"]
    distance_keys: Float[Array, "C N E"] | None
    """Projected sinusoids of the distances 0 to C - 1, computed once because they are the same at
    every step; None without relative positions."""


@dataclasses.dataclass(frozen=True)
class Past:
    """One layer's cells, and the tokens that they hold or are about to get."""

    cells: Cells
    positions: Positions
    """Positions [B, S] of all tokens, the newest included."""
    start: int | Int[Array, ""]
    """Number of tokens before the newest; 0 is known while tracing."""

    @property
    def num_cells(self) -> int:
        """C."""
        return self.cells.keys.shape[2]

    @property
    def is_ring(self) -> bool:
        """True if there are fewer cells than tokens."""
        return self.num_cells < self.positions.index.shape[1]

    def write(self, key: Float[Array, "B T K H"], value: Float[Array, "B T K H"]) -> "Past":
        """Add the newest T keys and values, in place if jit has donated the buffers."""
        keys, values = (
            constrain(self._written(cells, new), "batch", "kv_heads", None, None)
            for cells, new in ((self.cells.keys, key), (self.cells.values, value))
        )
        cells = dataclasses.replace(self.cells, keys=keys, values=values)
        return dataclasses.replace(self, cells=cells)

    def _written(
        self, cells: Float[Array, "B K C H"], new: Float[Array, "B T K H"]
    ) -> Float[Array, "B K C H"]:
        new = new.swapaxes(1, 2).astype(cells.dtype)  # B K T H
        write = functools.partial(jax.lax.dynamic_update_slice_in_dim, axis=2)
        num_new = new.shape[2]
        if isinstance(self.start, int):
            assert self.start == 0
            # A ring keeps the last C tokens, each in its own cell.
            first = max(0, num_new - self.num_cells)
            return write(cells, jnp.roll(new[:, :, first:], first % self.num_cells, axis=2), 0)
        if not self.is_ring:
            return write(cells, new, self.start)
        assert num_new <= MOST_NEW, f"{num_new} tokens at a time, and {MOST_NEW} is the most"
        for t in range(num_new):
            cells = write(cells, new[:, :, t : t + 1], (self.start + t) % self.num_cells)
        return cells

    def num_blocks(self, num_new: int) -> int | Int[Array, ""]:
        """Return the number of blocks with tokens in them, the `num_new` newest included."""
        size = min(BLOCK, self.num_cells)
        most = self.num_cells // size
        return 1 if most == 1 else jnp.minimum((self.start + num_new - 1) // size + 1, most)

    def block(self, number: int | Int[Array, ""], num_new: int) -> Keys:
        """Return one block of keys and values; an empty cell has segment 0."""
        size = min(BLOCK, self.num_cells)
        first = number * size
        key, value = (
            jax.lax.dynamic_slice_in_dim(cells, first, size, axis=2).swapaxes(1, 2)  # B c K H
            for cells in (self.cells.keys, self.cells.values)
        )
        if self.is_ring:
            # The newest token for each cell; below 0 if the cell is still empty.
            newest = self.start + num_new - 1
            token = newest - (newest - first - jnp.arange(size)) % self.num_cells
            positions = jax.tree.map(
                lambda x: jnp.where(token < 0, 0, jnp.take(x, token, axis=1, mode="clip")),
                self.positions,
            )
        else:
            positions = slice_tokens(self.positions, first, size)
        return Keys(key, value, positions, self.cells.distance_keys, self.start - first)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class KVCache:
    """Keys and values of the tokens seen so far, in buffers of a fixed length."""

    layers: tuple[Cells, ...]
    positions: Positions
    """Positions of up to S tokens. An empty cell has segment 0, which no token attends to."""
    length: int | Int[Array, ""]
    """Number of tokens seen; 0 is known while tracing."""

    def append_positions(self, positions: Positions) -> "KVCache":
        """Return the cache with T more tokens announced, which each layer then writes."""

        def write(cells: Array, new: Array) -> Array:
            return jax.lax.dynamic_update_slice_in_dim(cells, new, self.length, axis=1)

        return dataclasses.replace(
            self,
            positions=jax.tree.map(write, self.positions, positions),
            length=self.length + positions.index.shape[1],
        )


def num_cells(length: int, window: int | None) -> int:
    """Return the cells of a layer that sees `window` of `length` tokens, in whole blocks."""
    needed = length if window is None else min(length, window - 1 + MOST_NEW)
    return needed if needed <= BLOCK else -(-needed // BLOCK) * BLOCK
