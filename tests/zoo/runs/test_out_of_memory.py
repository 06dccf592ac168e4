import pytest

import configs
from configs.experiment import Mesh
from zoo.common.errors import OutOfMemoryError
from zoo.distribution.devices import resolve_dtype
from zoo.distribution.sharding import make_mesh
from zoo.runs.out_of_memory import explained_out_of_memory
from zoo.training.program import Program

PROGRAM = Program(resolve_dtype(configs.get("palm_nano")), make_mesh(Mesh(), 1))


def test_out_of_memory_on_this_machine_says_where_the_memory_goes():
    with pytest.raises(OutOfMemoryError) as raised, explained_out_of_memory(PROGRAM):
        raise MemoryError
    text = str(raised.value)
    assert text.startswith("out of memory (of this computer")
    assert all(word in text for word in ("params", "gradients", "optimizer", "temporaries"))
    assert text.count("\n  ") == 3


def test_another_error_passes_as_it_is():
    with pytest.raises(ValueError, match="as it is"), explained_out_of_memory(PROGRAM):
        raise ValueError("as it is")
