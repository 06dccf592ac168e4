"""Figures from given seconds, against sums by hand."""

import dataclasses

import pytest

import configs
from models.flops import train_flops_palm
from models.model import num_params
from zoo.benchmarking import What
from zoo.benchmarking.figures import figures_of
from zoo.benchmarking.processes import Measured
from zoo.benchmarking.workload import Workload

H100 = {"device_kind": "NVIDIA H100 80GB HBM3", "num_devices": 2}
CPU = {"device_kind": "cpu", "num_devices": 1}


def measured(what: What, dtype: str, device: dict, seconds: list[dict[str, float]]) -> Measured:
    experiment = configs.get("gpt2_124m")
    execution = dataclasses.replace(experiment.execution, dtype=dtype)
    workload = Workload(
        what=what,
        experiment=dataclasses.replace(experiment, execution=execution, batch_tokens=4 * 1024),
        sequences=4,
        decode_batch=2,
        prompt_tokens=100,
        new_tokens=51,
    )
    return Measured(workload, device, first_s=10.0, seconds=seconds, peak_bytes=2**30)


def test_training_gives_tokens_flops_and_mfu_by_the_named_convention():
    figures = figures_of(measured("train", "bfloat16", H100, [{"step": 0.5}] * 3), [])
    model = configs.get("gpt2_124m").model
    size = num_params(model)
    per_token = 6 * size + 12 * 12 * 12 * 64 * 1024
    assert train_flops_palm(model, size, 1024) == per_token
    assert figures["tokens_per_s"].values == (8192.0,) * 3
    assert figures["flops_per_s"].spread.median == pytest.approx(8192 * per_token)
    assert figures["mfu"].spread.median == pytest.approx(8192 * per_token / (2 * 989e12))
    assert figures["compile_s"].values == (9.5,)
    assert figures["peak_bytes"].values == (2**30,)


@pytest.mark.parametrize(("dtype", "device"), [("float32", H100), ("bfloat16", CPU)])
def test_there_is_no_mfu_without_a_published_peak(dtype: str, device: dict):
    assert "mfu" not in figures_of(measured("train", dtype, device, [{"step": 1.0}]), [])


def test_a_prefill_is_a_third_of_the_training_flops():
    figures = figures_of(measured("prefill", "float32", CPU, [{"first": 2.0}]), [])
    model = configs.get("gpt2_124m").model
    per_token = 2 * num_params(model) + 4 * 12 * 12 * 64 * 100
    assert figures["tokens_per_s"].values == (100.0,)
    assert figures["flops_per_s"].values == (pytest.approx(100 * per_token),)


def test_a_decoding_is_held_against_the_bytes_that_it_must_read():
    repeat = {"call": 3.0, "first": 0.5}
    figures = figures_of(measured("decode", "float32", CPU, [repeat]), [10e9])
    assert figures["tokens_per_s"].values == (2 * 51 / 3.0,)
    assert figures["loop_tokens_per_s"].values == (2 * 50 / 2.5,)
    # Every matrix once; keys and values of 125 tokens, for two rows in 12 layers of width 768.
    matrices = 12 * 12 * 768**2 + 50257 * 768
    read = 4 * (matrices + 2 * 2 * 125 * 12 * 768)
    assert figures["bandwidth_share"].values == (pytest.approx(50 * read / 2.5 / 10e9),)


def test_the_bandwidth_of_an_accelerator_is_the_published_one():
    repeat = {"call": 3.0, "first": 0.5}
    slow, fast = (
        figures_of(measured("decode", dtype, H100, [repeat]), [])["bandwidth_share"].values[0]
        for dtype in ("bfloat16", "float32")
    )
    assert fast == pytest.approx(2 * slow)
    assert 0 < fast < 0.01


def test_a_loop_that_is_too_short_to_be_timed_has_no_figures():
    repeats = [{"call": 0.5, "first": 0.6}, {"call": 0.7, "first": 0.5}]
    figures = figures_of(measured("decode", "float32", CPU, repeats), [1e9, 1e9])
    assert {"loop_tokens_per_s", "bandwidth_share"}.isdisjoint(figures)
