"""The choice of the attention kernel."""

import dataclasses

import pytest

import configs
from models.attention.choice import Workload, choose
from models.config import ConfigError
from models.execution import Execution

RUN = Workload(device_kind="TPU v5", seq_len=2048, length_is_split=False, has_packed_rows=False)
AUTO = Execution(dtype="bfloat16")
PACKED, SPLIT, H100 = (
    {"has_packed_rows": True},
    {"length_is_split": True},
    {"device_kind": "NVIDIA H100 80GB HBM3"},
)


@pytest.mark.parametrize(
    ("name", "change", "kernel", "reason"),
    [
        ("llama_7b", PACKED, "splash", "the fastest on TPU v5"),
        ("palm_8b", {}, "splash", "the fastest on TPU v5"),
        ("gpt3_13b", PACKED, "splash", "the fastest on TPU v5"),
        (
            "chinchilla_70b",
            {},
            "xla",
            "splash cannot serve this run: it adds no scores by distance",
        ),
        ("gpt1_117m", {}, "xla", "it drops no attention weights, and model.dropout_rate=0.1"),
        ("gpt1_117m", {"is_training": False}, "splash", "the fastest on TPU v5"),
        ("llama_7b", SPLIT, "xla", "it needs all keys on one device"),
        ("llama_7b", {"seq_len": 100}, "xla", "seq_len=100 is not a multiple of 128"),
        ("llama_7b", {"device_kind": "TPU v3"}, "xla", "Pallas does not compile for TPU v3"),
        ("llama_7b", H100, "cudnn", "the fastest on NVIDIA H100"),
        ("llama_7b", H100 | PACKED, "xla", "does not keep the documents of a row apart"),
        ("palm_8b", H100, "xla", "model.attention.head_dim=256 is not a multiple of 8 up to 128"),
        ("llama_7b", H100 | {"compute_capability": 9.0}, "cudnn", "the fastest on NVIDIA H100"),
        (
            "llama_7b",
            {"device_kind": "NVIDIA TITAN RTX", "compute_capability": 7.5},
            "xla",
            "it needs compute capability 8.0, not 7.5",
        ),
        ("llama_7b", {"device_kind": "cpu"}, "xla", "cpu has no kernel of its own"),
    ],
)
def test_auto_takes_the_fastest_that_serves(name: str, change: dict, kernel: str, reason: str):
    chosen, why = choose(configs.get(name).model, AUTO, dataclasses.replace(RUN, **change))
    assert chosen == dataclasses.replace(AUTO, attention=kernel)
    assert reason in why


def test_cudnn_computes_in_no_float32():
    run = dataclasses.replace(RUN, **H100)
    _, reason = choose(configs.get("llama_7b").model, Execution(dtype="float32"), run)
    assert reason == "cudnn cannot serve this run: it does not compute in float32"


@pytest.mark.parametrize("kernel", ["xla", "splash"])
def test_a_named_kernel_that_serves_is_taken(kernel):
    execution = dataclasses.replace(AUTO, attention=kernel)
    chosen, reason = choose(configs.get("llama_7b").model, execution, RUN)
    assert chosen == execution
    assert reason == f"as --execution.attention={kernel} says"


@pytest.mark.parametrize(
    ("kernel", "change", "reason"),
    [
        ("cudnn", {}, "it is not for TPU v5"),
        ("splash", {"device_kind": "cpu"}, "it is not for cpu"),
        ("splash", SPLIT, "--mesh.sequence splits them"),
    ],
)
def test_a_named_kernel_that_cannot_serve_is_refused(kernel, change: dict, reason: str):
    execution = dataclasses.replace(AUTO, attention=kernel)
    with pytest.raises(ConfigError, match=reason) as refused:
        choose(configs.get("llama_7b").model, execution, dataclasses.replace(RUN, **change))
    assert f"execution.attention={kernel} cannot serve this run" in str(refused.value)
    assert "write --execution.attention=auto" in str(refused.value)
