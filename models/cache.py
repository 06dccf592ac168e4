"""Where tokens stand, and the keys and values of those seen so far."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Places:
    """Where every token of a batch stands; the attention mask follows from it."""

    positions: Int[Array, "B T"]
    """Index within the token's document, from 0. A document's tokens stand side by side, so that
    the distance between two of them is also the distance between their cells."""
    segment_ids: Int[Array, "B T"]
    """Which document of the row the token belongs to, from 1; 0 is padding."""

    @classmethod
    def whole_rows(cls, batch_size: int, seq_len: int) -> "Places":
        """Every row is one document, without padding."""
        positions = jnp.broadcast_to(jnp.arange(seq_len), (batch_size, seq_len))
        return cls(positions, jnp.ones_like(positions))


def attends(query: Places, key: Places, window: int | None = None) -> Bool[Array, "B T S"]:
    """A token sees the tokens of its own document that do not come after it, and of those, with a
    window, only the last `window`, itself included."""
    same_document = query.segment_ids[:, :, None] == key.segment_ids[:, None, :]
    distance = query.positions[:, :, None] - key.positions[:, None, :]
    seen = same_document & (distance >= 0)
    return seen if window is None else seen & (distance < window)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class KVCache:
    """Keys and values of the tokens seen so far, in buffers of a fixed length S."""

    keys: Float[Array, "L S B K H"]
    """Cells before rows: XLA lays out on a TPU what is written cell by cell so, and would copy a cache of
    any other order at every call."""
    values: Float[Array, "L S B K H"]
    places: Places
    """Of the S cells. An empty cell has segment 0, which no token attends to."""
    length: Int[Array, ""]
    """Number of cells written; the next token goes into cell `length`."""
    distance_keys: Float[Array, "L S N H"] | None
    """Of the distances 0 to S - 1, for relative positions: the same at every step, so made once."""

    def append_places(self, places: Places) -> "KVCache":
        """The cache with T more cells taken; each layer then fills them with `append`."""

        def write(cells: Array, new: Array) -> Array:
            return jax.lax.dynamic_update_slice_in_dim(cells, new, self.length, axis=1)

        taken = jax.tree.map(write, self.places, places)
        return dataclasses.replace(
            self, places=taken, length=self.length + places.positions.shape[1]
        )

    def append(self, layer: Int[Array, ""], key: Array, value: Array) -> "KVCache":
        """Write one layer's T newest keys and values, in place once jit has donated the buffers."""
        start = (layer, self.length - key.shape[1], 0, 0, 0)

        def write(cells: Array, new: Array) -> Array:
            new = new.swapaxes(0, 1)[None].astype(cells.dtype)
            return jax.lax.dynamic_update_slice(cells, new, start)

        return dataclasses.replace(
            self, keys=write(self.keys, key), values=write(self.values, value)
        )
