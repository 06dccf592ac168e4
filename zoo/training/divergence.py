"""The measure of a spike: how far a step lies above the steps before it. It stays on the devices.

The centre is the median of the window and the unit 1.4826 times the median absolute deviation,
which is the standard deviation where the values are normal. Unlike mean and standard deviation,
neither is moved by the spikes themselves, so that the second of two spikes stands out as the first.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

MEASURED = ("train/loss", "train/update_norm")
"""The metrics that are watched. The update norm often spikes some steps before the loss."""
SMALLEST_UNIT = 0.01
"""Lower bound of the unit, relative to the median: a curve that is almost flat has no spikes."""
_MAD_OF_NORMAL = 1.4826


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Recent:
    """The newest measurements, and the updates left out so far. The same on all devices."""

    values: Float[Array, "2 W"]
    """MEASURED after the last W steps with finite values, oldest first; NaN before the first."""
    num_skipped: Int[Array, ""]
    """Steps whose update was not applied."""

    @classmethod
    def start(cls, window: int) -> "Recent":
        """Return the state of step 0."""
        nothing = jnp.full((len(MEASURED), window), jnp.nan, jnp.float32)
        return cls(nothing, jnp.zeros((), jnp.int32))

    def deviations(self, measured: Float[Array, "2"]) -> Float[Array, "2"]:
        """Return how many units `measured` lies above the medians.

        It is 0 while more than half of the window is empty.
        """
        centre = jnp.nanmedian(self.values, axis=1)
        distance = jnp.abs(self.values - centre[:, None])
        unit = _MAD_OF_NORMAL * jnp.nanmedian(distance, axis=1)
        unit = jnp.maximum(unit, SMALLEST_UNIT * jnp.abs(centre))
        is_filled = 2 * jnp.sum(jnp.isfinite(self.values[0])) >= self.values.shape[1]
        return jnp.where(is_filled, (measured - centre) / unit, 0.0)

    def after(self, measured: Float[Array, "2"], skipped: Array) -> "Recent":
        """Return the state after a step. A spike enters the window too: the level may be new."""
        shifted = jnp.concatenate([self.values[:, 1:], measured[:, None]], axis=1)
        values = jnp.where(jnp.all(jnp.isfinite(measured)), shifted, self.values)
        return Recent(values, self.num_skipped + skipped)

    def to_json(self) -> dict[str, Any]:
        """Return the state as JSON values, exactly."""
        values = np.asarray(self.values)
        kept = values[:, np.isfinite(values[0])].tolist()
        return dict(zip(MEASURED, kept, strict=True)) | {"num_skipped": int(self.num_skipped)}

    @classmethod
    def from_json(cls, saved: dict[str, Any], like: "Recent") -> "Recent":
        """Return a saved state in the window of `like`, which may be of another length.

        Args:
          saved: from `to_json`, or {} of a checkpoint that has none.
          like: abstract arrays with their shardings, if they have any.
        """
        window = like.values.shape[1]
        values = np.full(like.values.shape, np.nan, np.float32)
        for row, name in zip(values, MEASURED, strict=True):
            newest = saved.get(name, [])[-window:]
            row[window - len(newest) :] = newest
        num_skipped = np.asarray(saved.get("num_skipped", 0), np.int32)
        return cls(_put(values, like.values), _put(num_skipped, like.num_skipped))


def _put(array: np.ndarray, like: Array) -> jax.Array:
    if like.sharding is None:
        return jnp.asarray(array)
    return jax.make_array_from_callback(array.shape, like.sharding, lambda index: array[index])
