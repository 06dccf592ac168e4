"""Bytes before compiling: the exact part by hand, the estimate against libtpu's figures."""

import dataclasses

import pytest

import configs
from configs.experiment import Experiment, Mesh
from models.model import num_params
from zoo.distribution.sharding import mesh_shape
from zoo.planning import memory
from zoo.planning.training import on_accelerator

GIB = 2**30


def test_the_state_of_one_device_is_exact():
    palm = configs.get("palm_540b")
    params, optimizer = memory.state_bytes(palm, mesh_shape(Mesh(fsdp=256, tensor=12), 6144))
    model = palm.model
    table = model.vocab_size * model.d_model
    keys_and_values = 2 * model.num_layers * model.d_model * model.attention.head_dim
    norms = (model.num_layers + 1) * model.d_model
    # Not sharded over tensor: 256,000 is not a multiple of 12, and there is one KV head.
    replicated = table + keys_and_values + norms
    sharded = num_params(model) - replicated
    assert params == 4 * (replicated // 256 + sharded // (256 * 12))
    assert optimizer == pytest.approx(2 * params, rel=1e-6)  # and counters


@pytest.mark.parametrize(
    ("name", "attention", "shape", "micro_batches", "measured_gib"),
    [  # gradients, temporaries and code of rows of docs/plans.md
        ("palm_540b", "splash", (2, 256, 12), 1, 6.72),
        ("llama_65b", "splash", (4, 128, 1), 1, 16.77),
        ("llama_65b", "cudnn", (32, 64, 1), 1, 9.76),
        ("chinchilla_70b", "xla", (1, 256, 4), 1, 7.19),
        ("gopher_280b", "xla", (4, 256, 8), 3, 3.59),
        ("mt_nlg_530b", "splash", (1, 128, 16), 1, 17.75),
        ("gpt3_13b", "splash", (4, 64, 1), 4, 4.00),
    ],
)
def test_the_estimate_is_within_a_third_of_the_compilers_figure(
    name: str, attention, shape: tuple[int, int, int], micro_batches: int, measured_gib: float
):
    data, fsdp, tensor = shape
    mesh = mesh_shape(Mesh(data=data, fsdp=fsdp, tensor=tensor), data * fsdp * tensor)
    experiment = dataclasses.replace(configs.get(name), micro_batches=micro_batches)
    assert held_gib(experiment, mesh, attention, "full") == pytest.approx(measured_gib, rel=1 / 3)


@pytest.mark.parametrize(
    ("name", "rows", "fsdp", "tensor", "attention", "measured_gib"),
    [  # as compiled for TPU v5p and v4 by libtpu 0.0.42: dots, narrow and full
        ("llama_7b", 2, 64, 1, "splash", (12.88, 7.65, 2.80)),
        ("gpt3_1.3b", 2, 8, 1, "splash", (5.04, 3.57, 1.73)),
        ("palm_8b", 2, 32, 2, "splash", (8.60, 4.60, 3.47)),
        ("chinchilla_70b", 4, 32, 4, "xla", (30.29, 20.35, 7.17)),
    ],
)
def test_the_estimate_is_within_a_fifth_for_each_policy(
    name: str, rows: int, fsdp: int, tensor: int, attention, measured_gib: tuple[float, ...]
):
    experiment = configs.get(name)
    batch_tokens = fsdp * rows * experiment.seq_len
    experiment = dataclasses.replace(experiment, batch_tokens=batch_tokens, batch_ramp=None)
    shape = mesh_shape(Mesh(fsdp=fsdp, tensor=tensor), fsdp * tensor)
    for remat, measured in zip(("dots", "narrow", "full"), measured_gib, strict=True):
        assert held_gib(experiment, shape, attention, remat) == pytest.approx(measured, rel=0.2)


def held_gib(experiment: Experiment, mesh: dict[str, int], attention, remat) -> float:
    """Return the estimated GiB of gradients and temporaries."""
    experiment = on_accelerator(experiment)
    execution = dataclasses.replace(experiment.execution, attention=attention, remat=remat)
    held = memory.estimate_training(dataclasses.replace(experiment, execution=execution), mesh)
    return (held.gradients + held.temporaries) / GIB


def test_serving_keeps_weights_and_full_contexts_in_bfloat16():
    palm = on_accelerator(configs.get("palm_540b"))
    held = memory.estimate_serving(palm, mesh_shape(Mesh(fsdp=4, tensor=16), 64), 64)
    assert held.weights == pytest.approx(2 * num_params(palm.model) / 64, rel=0.05)
    # One key and one value head of 256 in 118 layers, replicated over tensor.
    assert held.kv_cache == 2 * 2 * 256 * 118 * 2048 * 64 // 4
