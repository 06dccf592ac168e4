"""The zoo's side of a measurement: the functions that its commands run, on random weights."""

import dataclasses
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from rich.console import Console

from configs.experiment import Experiment
from data.vocabularies.hugging_face import token_ids
from models.config import check
from models.transformer import Transformer
from zoo.benchmarking import reading
from zoo.benchmarking.workload import Workload
from zoo.checkpoints.checkpoint import Run
from zoo.checkpoints.writer import write_weights
from zoo.common.folders import check_space
from zoo.distribution.devices import configure
from zoo.distribution.hosts import Hosts
from zoo.distribution.sharding import mesh_flags
from zoo.inference.decode import Sampling
from zoo.inference.loading import load
from zoo.runs.devices import on_these_devices
from zoo.runs.report import RunReport
from zoo.training.program import Program

Repeat = Callable[[], dict[str, float]]
"""Does the work once and returns the seconds of its parts."""

SEQUENCES = 4
"""Sequences of a train step per device, if nobody says."""


def prepare(workload: Workload) -> tuple[Workload, dict[str, Any], Repeat]:
    """Return the workload as it is on these devices, the devices, and the work of a repeat.

    Raises ConfigError if the model or the batch does not divide over the mesh.
    """
    configure(fake_devices=workload.fake_devices)
    jax.config.update("jax_enable_compilation_cache", False)  # a first call compiles
    experiment, mesh = on_these_devices(
        _with_batch(workload), RunReport(Console(stderr=True, highlight=False)), Hosts()
    )
    workload = dataclasses.replace(workload, experiment=experiment)
    device = {
        "device_kind": jax.devices()[0].device_kind,
        "platform": jax.default_backend(),
        "num_devices": mesh.size,
        "mesh": mesh_flags(dict(mesh.shape)) or "one device",
    }
    match workload.what:
        case "train":
            return workload, device, _train(Program(experiment, mesh))
        case "input":
            return workload, device, reading.prepare(experiment.seq_len)
        case "startup":
            return workload, device, dict  # commands of their own do the work
        case _:
            check(
                mesh.size == 1,
                f"--what={workload.what} runs on one device, and the mesh has {mesh.size}; leave "
                "out --mesh, or write --what=train",
            )
            return workload, device, _sample(workload)


def _with_batch(workload: Workload) -> Experiment:
    """Return the experiment with the batch that is measured."""
    experiment = workload.experiment
    sequences = workload.sequences or SEQUENCES * jax.device_count()
    return dataclasses.replace(
        experiment, batch_tokens=sequences * experiment.seq_len, batch_ramp=None
    )


def _train(program: Program) -> Repeat:
    """One optimizer step on random tokens."""
    experiment = program.experiment
    shape = experiment.batch_size, experiment.seq_len
    tokens = np.random.default_rng(0).integers(
        experiment.model.vocab_size, size=(shape[0], shape[1] + 1), dtype=np.int32
    )
    rows = {
        "inputs": tokens[:, :-1],
        "targets": tokens[:, 1:],
        "positions": np.tile(np.arange(shape[1], dtype=np.int32), (shape[0], 1)),
        "segment_ids": np.ones(shape, np.int32),
        "weights": np.ones(shape, np.float32),
    }
    batch = program.batch_layout.put(rows)
    with program.entered():
        state = program.init()

    def repeat() -> dict[str, float]:
        nonlocal state
        start_s = time.perf_counter()
        with program.entered():
            state, metrics = program.train_step(state, batch)
            jax.block_until_ready((state, metrics))
        return {"step": time.perf_counter() - start_s}

    return repeat


def _sample(workload: Workload) -> Repeat:
    """Continue random prompts greedily with what `zoo.load` returns."""
    with tempfile.TemporaryDirectory(prefix="zoo-bench-") as folder:
        write_random_checkpoint(workload.experiment, Path(folder))
        model = load(folder, weights=workload.weights)
    prompts = random_prompts(workload)

    def continued(num_tokens: int) -> float:
        start_s = time.perf_counter()
        model.sample_ids(prompts, max_tokens=num_tokens, sampling=Sampling(temperature=0))
        return time.perf_counter() - start_s

    return lambda: workload.repeat(continued)


def write_random_checkpoint(experiment: Experiment, folder: Path) -> None:
    """Write random weights as the checkpoint of a model without a tokenizer.

    Raises WorkdirError, which names the folder, if the disk has no room.
    """

    @jax.jit
    def weights() -> nnx.State:
        model = Transformer(experiment.model, experiment.execution, rngs=nnx.Rngs(experiment.seed))
        return nnx.state(model, nnx.Param)

    folder.mkdir(parents=True, exist_ok=True)
    params = weights()
    num_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(params))
    check_space(folder, 1, num_bytes)
    vocabulary = token_ids(experiment.model.vocab_size, {})  # no id of it ends a row
    write_weights(folder, params, Run(experiment, {}), vocabulary)


def random_prompts(workload: Workload) -> list[list[int]]:
    """Return the prompts that every side continues."""
    shape = workload.decode_batch, workload.prompt_tokens
    return np.random.default_rng(0).integers(workload.model.vocab_size, size=shape).tolist()


def peak_bytes() -> int:
    """Return the most memory that this process has used: of a device, or else of the computer."""
    stats = jax.local_devices()[0].memory_stats() or {}
    return stats.get("peak_bytes_in_use") or process_peak_bytes()


def process_peak_bytes() -> int:
    """Return the most memory of this computer that this process has used."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
