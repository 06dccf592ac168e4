"""The runs of one verification, each compared with the run that it should equal."""

import dataclasses
import itertools
import math
from dataclasses import dataclass
from pathlib import Path

from jax.sharding import AbstractMesh

from configs.experiment import Experiment, Mesh
from models.config import ConfigError
from zoo.checkpoints import checkpoint
from zoo.distribution.devices import read_description
from zoo.distribution.sharding import AXES, mesh_flags, mesh_shape, rows_to_share, rules_for
from zoo.reporting.recorded_run import read_run
from zoo.verification.comparison import EXACT, RunComparison, Tolerance, compare, read_outcome
from zoo.verification.runs import Launcher

NUM_FAKE_DEVICES = 4
"""Devices of a rehearsed mesh."""
NUM_HOSTS = 2
"""Processes of the run on several hosts, each with one fake device."""
TOLERANCES = {
    "float32": Tolerance(metrics=1e-5, gradients=1e-4, params=1e-4),
    "bfloat16": Tolerance(metrics=5e-2, gradients=math.inf, params=1e-1),
}
"""The tolerances by the precision of the matrix products and the parameters.

About ten times the largest differences measured over 20 steps between one CPU device and fsdp=2,
tensor=2. Float32, the _nano models of six families: metrics 5e-7, gradients 7e-6, parameters 2e-6.
Bfloat16, gopher_nano and gpt2_nano: metrics 6e-3, parameters 1e-2. Gradients are left out there:
Gopher's norm differed by 0.6. Differences grow with the steps.
"""


@dataclass(frozen=True)
class Verification:
    """The outcome of a verification."""

    devices: str
    """The devices of the straight run."""
    comparisons: dict[str, RunComparison]
    """The comparisons by what their run did."""
    notes: list[str]
    """Reasons why something was rehearsed or left out."""


@dataclass(frozen=True)
class _Reference:
    """A straight run, which others should equal."""

    workdir: Path
    flags: list[str]
    """The flags that it does not share with the others: those of its devices."""

    @property
    def devices(self) -> str:
        return read_run(self.workdir).record.starts[0].devices

    @property
    def experiment(self) -> Experiment:
        return checkpoint.read_run(checkpoint.find(self.workdir)).experiment

    def another_mesh(self, num_devices: int) -> dict[str, int]:
        """Return a mesh that the model and the batch divide over, and that the run has not had."""
        experiment = self.experiment
        size, _ = read_description(self.devices)
        own = mesh_shape(experiment.mesh, size, rows_to_share(experiment))
        for shape in _shapes(num_devices):
            mesh = dataclasses.replace(Mesh(), **shape)
            candidate = dataclasses.replace(experiment, mesh=mesh)
            try:
                rules_for(candidate, AbstractMesh(tuple(shape.values()), tuple(shape)))
            except ConfigError:
                continue
            if shape != own:
                return shape
        raise ConfigError(
            f"the model and its batch divide over no other mesh of {num_devices} devices; write "
            f"--batch-tokens={num_devices * experiment.batch_tokens}"
        )


def verify(launcher: Launcher, steps: int) -> Verification:
    """Train 2 `steps` steps straight, with a stop, on another mesh and on two hosts; compare.

    Raises StartedRunError if a run fails, and ConfigError if the model fits no other mesh.
    """
    num_steps = 2 * steps
    comparisons, notes = {}, []

    def compare_with(reference: _Reference, workdir: Path, tolerance: Tolerance) -> RunComparison:
        expected, found = (read_outcome(run, num_steps) for run in (reference.workdir, workdir))
        return compare(expected, found, tolerance, num_steps=num_steps, starts=[0, steps])

    straight = _Reference(launcher.train("straight", num_steps), [])
    launcher.train("stopped", steps)
    stopped = launcher.train("stopped", num_steps)
    comparisons[f"stop at step {steps}"] = compare_with(straight, stopped, EXACT)

    num_devices, platform = read_description(straight.devices)
    on_cpu, compared_with = straight, ""
    if platform != "cpu":  # one process owns all accelerators
        compared_with = ", and compared with a straight run on one"
        flags = ["--fake-devices=1", *_mesh_flags(mesh_shape(Mesh(), 1))]
        on_cpu = _Reference(launcher.train("rehearsal", num_steps, *flags), flags)

    if platform != "cpu" and num_devices > 1:
        reference, devices = straight, []
    else:
        reference, devices = on_cpu, [f"--fake-devices={NUM_FAKE_DEVICES}"]
        notes.append(
            f"the other mesh is rehearsed on {NUM_FAKE_DEVICES} fake CPU devices{compared_with}"
        )
    shape = reference.another_mesh(NUM_FAKE_DEVICES if devices else num_devices)
    launcher.copy(reference.workdir, "mesh", steps)
    meshed = launcher.train("mesh", num_steps, *devices, *_mesh_flags(shape))
    tolerance = _tolerance(reference.experiment)
    comparisons[f"stop, then {_name(shape)}"] = compare_with(reference, meshed, tolerance)

    if on_cpu.experiment.data.streaming:
        notes.append("no run on two hosts: they divide streamed text into other batches")
        return Verification(straight.devices, comparisons, notes)
    notes.append(
        f"hosts are processes on this machine, with one fake CPU device each{compared_with}"
    )
    shape = on_cpu.another_mesh(NUM_HOSTS)
    flags = ["--fake-devices=1", *_mesh_flags(shape)]
    launcher.train("hosts", steps, *flags, num_hosts=NUM_HOSTS)
    hosts = launcher.train("hosts", num_steps, *on_cpu.flags)
    tolerance = _tolerance(on_cpu.experiment)
    name = f"{NUM_HOSTS} hosts, {_name(shape)}, then one"
    comparisons[name] = compare_with(on_cpu, hosts, tolerance)
    return Verification(straight.devices, comparisons, notes)


def _shapes(num_devices: int) -> list[dict[str, int]]:
    """Return the meshes of so many devices, those that split the most axes first.

    The sequence and pipeline axes stay whole: across them, dropout draws other numbers.
    """
    divisors = [n for n in range(1, num_devices + 1) if num_devices % n == 0]
    sizes = [
        (tensor, data, fsdp)
        for tensor, data, fsdp in itertools.product(divisors, repeat=3)
        if tensor * data * fsdp == num_devices
    ]
    return [
        dict.fromkeys(AXES, 1) | {"tensor": tensor, "data": data, "fsdp": fsdp}
        for tensor, data, fsdp in sorted(sizes, key=lambda size: (max(size), size[1], size))
    ]


def _mesh_flags(shape: dict[str, int]) -> list[str]:
    """Return the flags of a mesh, every axis included, which replace those of the user."""
    return ["--mesh.no-auto", *(f"--mesh.{axis}={size}" for axis, size in shape.items())]


def _name(shape: dict[str, int]) -> str:
    return mesh_flags(shape).replace("--mesh.", "")


def _tolerance(experiment: Experiment) -> Tolerance:
    """Return the tolerance of a run that adds the same numbers up in another order."""
    dtypes = experiment.execution.dtype, experiment.param_dtype
    return TOLERANCES["bfloat16" if "bfloat16" in dtypes else "float32"]
