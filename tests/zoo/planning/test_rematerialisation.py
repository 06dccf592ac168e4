"""Rematerialisation policies, as compiled: each keeps less and repeats more than the one before."""

import dataclasses
from itertools import pairwise

import jax
import pytest

import configs
from configs.experiment import Experiment, Mesh
from zoo.distribution import sharding
from zoo.distribution.devices import resolve_dtype
from zoo.planning import compilation, hardware, memory
from zoo.planning.search import REMATS
from zoo.planning.training import on_accelerator

COPIES = sharding.mesh_shape(Mesh(), 4)


def with_policy(experiment: Experiment, remat) -> Experiment:
    """Return eight layers of the model, so that the memory of the one at work counts little."""
    model = dataclasses.replace(
        experiment.model, num_layers=8, context_length=256, vocab_size=256, d_model=64
    )
    execution = dataclasses.replace(experiment.execution, remat=remat)
    return dataclasses.replace(
        experiment,
        model=model,
        execution=execution,
        seq_len=256,
        batch_tokens=8 * 256,
        batch_ramp=None,
    )


def wider(experiment: Experiment) -> Experiment:
    """Return the experiment with layers whose parts have the proportions of published models."""
    model, width, length = experiment.model, 256, 512
    model = dataclasses.replace(
        model,
        context_length=length,
        vocab_size=1024,
        d_model=width,
        attention=dataclasses.replace(model.attention, num_heads=4, num_kv_heads=4, head_dim=64),
        feed_forward=dataclasses.replace(model.feed_forward, d_ff=4 * width),
    )
    return dataclasses.replace(
        experiment, model=model, seq_len=length, batch_tokens=16 * length, batch_ramp=None
    )


@pytest.mark.parametrize("name", ["llama_nano", "gpt3_nano"])
def test_on_a_cpu_each_policy_keeps_less_and_repeats_more(name: str):
    temporaries, flops = [], []
    for remat in REMATS:
        experiment = with_policy(resolve_dtype(configs.get(name)), remat)
        mesh = sharding.make_mesh(Mesh(), jax.device_count())
        compiled = compilation.lower(experiment, mesh).compile()
        memory_analysis = compiled.memory_analysis()
        assert memory_analysis is not None
        temporaries.append(memory_analysis.temp_size_in_bytes)
        flops.append((compiled.cost_analysis() or {})["flops"])
    assert all(more > less for more, less in pairwise(temporaries)), temporaries
    assert all(less < more for less, more in pairwise(flops)), flops


@pytest.mark.skipif(not compilation.can_compile(), reason="no libtpu for this platform")
@pytest.mark.parametrize("name", ["llama_nano", "gpt2_nano"])
def test_on_a_tpu_each_policy_keeps_less_and_the_estimate_is_within_a_third(name: str):
    topology = hardware.parse("v5e:2x2", 1)
    compiled, estimated = [], []
    for remat in REMATS:
        experiment = on_accelerator(wider(with_policy(configs.get(name), remat)))
        step = compilation.compile_step(experiment, topology, COPIES, quick=True)
        compiled.append(step.temporary_bytes)
        held = memory.estimate_training(experiment, COPIES)
        estimated.append(held.gradients + held.temporaries)
    assert all(more > less for more, less in pairwise(compiled)), compiled
    assert estimated == pytest.approx(compiled, rel=1 / 3)
