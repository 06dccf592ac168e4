"""The memory that loading a model takes."""

import dataclasses
from pathlib import Path

import pytest

import configs
from models.execution import Execution
from zoo.benchmarking.ours import write_random_checkpoint

LOAD = """
import re, sys
from pathlib import Path
from configs.experiment import Mesh
from zoo.distribution.devices import configure

configure(fake_devices=8)
import jax
from zoo.planning.placement import load

def peak_bytes():
    # Not getrusage: its peak includes that of the process that started this one.
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"VmHWM:\\s*(\\d+)", status)[1])

jax.devices()
before = peak_bytes()
model = load(sys.argv[1], mesh=Mesh(fsdp=8))
print(peak_bytes() - before, sum(leaf.nbytes for leaf in jax.tree.leaves(model.params)))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
def test_weights_go_into_their_shards_without_a_copy_for_every_device(tmp_path, run_process):
    """The devices' memory is the computer's here: eight whole copies would be eight times as much.

    A weight is in memory twice while its layers are laid out.
    """
    gpt2 = configs.get("gpt2_124m")
    model = dataclasses.replace(gpt2.model, num_layers=2, vocab_size=16_384)
    execution = Execution(dtype="float32")
    experiment = dataclasses.replace(gpt2, model=model, execution=execution)
    write_random_checkpoint(experiment, tmp_path / "weights")
    process = run_process("-c", LOAD, str(tmp_path / "weights"))
    assert process.returncode == 0, process.stderr
    grown, stored = map(int, process.stdout.split())
    assert stored > 1e8
    assert grown < 2.5 * stored, grown / stored
