import numpy as np

from data.batches.readers import ComputedReader
from data.batches.rows import TokenWindows
from data.batches.sizes import BatchSizes


def test_computed_batches_need_no_state():
    rows = TokenWindows(np.arange(4, 200), 13, BatchSizes.constant(8), seed=0)
    reader = ComputedReader(rows)
    expected = rows.train_batch(7, slice(2, 4))
    for key, array in reader.train_batch(7, slice(2, 4)).items():
        np.testing.assert_array_equal(array, expected[key])
        assert array.dtype == expected[key].dtype
    assert reader.counters(7) == rows.counters(7)
    assert reader.state(7) == {}
