import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.batches.packing import row_starts


@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=12),
    st.integers(1, 40),
    st.integers(1, 5),
    st.booleans(),
)
def test_planning_in_blocks_changes_nothing(lengths, seq_len, documents, one_mark):
    offsets = np.cumsum([0, *(length + 2 for length in lengths)])
    whole = np.concatenate(list(row_starts(offsets, seq_len, one_mark=one_mark)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("data.batches.packing._DOCUMENTS_PER_BLOCK", documents)
        in_blocks = np.concatenate(list(row_starts(offsets, seq_len, one_mark=one_mark)))
    assert in_blocks.tolist() == whole.tolist()
