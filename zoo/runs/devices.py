"""The dtype, mesh, attention kernel and micro-batches of a run, decided for the devices there."""

import dataclasses

import jax

from configs.experiment import Experiment
from models.config import ConfigError, Decoder, check
from zoo.distribution.devices import (
    bytes_per_device,
    choose_attention,
    num_neighbours,
    resolve_dtype,
)
from zoo.distribution.hosts import Hosts
from zoo.distribution.sharding import make_mesh, rows_to_share
from zoo.runs.report import RunReport


def on_these_devices(
    experiment: Experiment, report: RunReport, hosts: Hosts
) -> tuple[Experiment, jax.sharding.Mesh]:
    """Return the experiment with everything that is `auto` decided and reported, and its mesh.

    Raises ConfigError if the batch and the model divide over no mesh of these devices.
    """
    if experiment.mesh.auto or experiment.micro_batches == "auto":
        check(
            isinstance(experiment.model.stack, Decoder),
            "the planner, which decides --mesh=auto and --micro-batches=auto, knows decoders only, "
            "and this model has an encoder; write numbers instead",
        )
    experiment = _choose_mesh(resolve_dtype(experiment), report, hosts)
    mesh = _make_mesh(experiment, report)
    experiment, reason = choose_attention(experiment, mesh.shape)
    report.attention(experiment.execution.attention, reason)
    return _choose_micro_batches(experiment, mesh, report, hosts), mesh


def _choose_mesh(experiment: Experiment, report: RunReport, hosts: Hosts) -> Experiment:
    """Return the experiment with the mesh that --mesh=auto chooses for these devices."""
    if not experiment.mesh.auto:
        return experiment
    # Imported late: a run loads the planner only for this choice.
    from zoo.planning import auto_mesh

    mesh, reason = auto_mesh.choose(
        experiment, jax.device_count(), bytes_per_device(), num_neighbours()
    )
    hosts.require_same("the mesh", dataclasses.asdict(mesh), ConfigError)
    report.line(f"mesh: {reason}")
    return dataclasses.replace(experiment, mesh=mesh)


def _choose_micro_batches(
    experiment: Experiment, mesh: jax.sharding.Mesh, report: RunReport, hosts: Hosts
) -> Experiment:
    """Return the experiment with the micro-batches that --micro-batches=auto chooses."""
    if experiment.micro_batches != "auto":
        return experiment
    from zoo.planning import accumulation

    smallest = min(hosts.gather(bytes_per_device()))
    chosen, reason = accumulation.choose(experiment, mesh.shape, smallest)
    report.line(f"micro-batches: {reason}")
    return chosen


def _make_mesh(experiment: Experiment, report: RunReport) -> jax.sharding.Mesh:
    """Make the mesh of the devices that the batch divides over; warn if some stay idle."""
    num_rows = rows_to_share(experiment)
    mesh = make_mesh(experiment.mesh, jax.device_count(), num_rows)
    if mesh.size < jax.device_count():
        check(
            jax.process_count() == 1,
            f"a batch of {num_rows} sequences divides over {mesh.size} of {jax.device_count()} "
            "devices, and a run of several processes needs all; raise --batch-tokens, or split the "
            "model with --mesh.tensor",
        )
        report.warn(
            f"{mesh.size} of {jax.device_count()} devices are used: a batch of {num_rows} "
            "sequences divides no further; raise --batch-tokens, or split the model with "
            "--mesh.tensor"
        )
    return mesh
