"""A pseudorandom order of `range(size)` that is computed, not stored.

The arithmetic is written out here, so that no library's upgrade can change the order in which a run
sees its data. It needs no memory that grows with `size`.
"""

import numpy as np

# Four rounds make a large Feistel network pseudorandom. With 16 items or fewer, six rounds still
# favour some orders by 2 % (chi-squared over 20,000 epochs); with eight no bias was found.
_ROUNDS = 8
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2**64 over the golden ratio, SplitMix64's step


def epoch_order(index: np.ndarray, size: int, seed: int) -> np.ndarray:
    """Return the item of each draw `index` in an endless series of shuffled epochs.

    Args:
      index: uint64, any shape. Draws `[k * size, (k + 1) * size)` are epoch k.
      size: number of items in an epoch, in `[1, 2**62]`.
      seed: any integer; its lowest 64 bits count.

    Returns:
      int64, shaped like `index`: in each epoch a different permutation of `range(size)`.
    """
    epoch, value = np.divmod(index, np.uint64(size))
    key = _mix(_mix(np.full_like(epoch, seed % 2**64)) + epoch)
    # The network permutes [0, 4**half_bits), less than four times `size`. Applying it to a value
    # until the result is below `size` permutes the values below `size`.
    half_bits = -(-(size - 1).bit_length() // 2)
    outside = np.ones(value.shape, bool)
    while outside.any():
        value[outside] = _feistel(value[outside], key[outside], half_bits)
        outside = value >= size
    return value.astype(np.int64)


def _feistel(value: np.ndarray, key: np.ndarray, half_bits: int) -> np.ndarray:
    """Apply a keyed bijection of `[0, 4**half_bits)` (Luby and Rackoff, 1988)."""
    mask = np.uint64(2**half_bits - 1)
    left, right = value >> np.uint64(half_bits), value & mask
    for _ in range(_ROUNDS):
        key = key + _GOLDEN
        left, right = right, left ^ (_mix(right ^ key) & mask)
    return left << np.uint64(half_bits) | right


def _mix(x: np.ndarray) -> np.ndarray:
    """Apply SplitMix64's step and finalizer (Steele, Lea, Flood, 2014), a bijection of uint64."""
    x = x + _GOLDEN
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
