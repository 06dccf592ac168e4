"""A random key for every row of a batch, which follows from the row alone."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key


def row_keys(key: Key[Array, ""], rows: Int[Array, "B T"]) -> Key[Array, " B"]:
    """Return a key for each row: `key` and a hash of the row's tokens.

    What is drawn for a row then depends neither on its place in the batch nor on the devices.
    """
    numbers = jnp.arange(rows.shape[1], dtype=jnp.uint32)
    # Odd factors of a multiplicative hash (Knuth 1973, section 6.4: the golden ratio in 32 bits).
    factors = (2 * numbers + 1) * jnp.uint32(2654435769)
    hashes = jnp.sum((rows.astype(jnp.uint32) + 1) * factors, axis=1, dtype=jnp.uint32)
    return jax.vmap(lambda number: jax.random.fold_in(key, number))(hashes)
