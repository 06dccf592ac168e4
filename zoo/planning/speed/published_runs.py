"""Published speeds of training, to which the prediction is fitted.

Each is an experiment on a mesh with the MFU that its source gives or that follows from the tokens
per second that it gives, by PaLM's convention (6N + 12LHQT per token).
"""

import dataclasses
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import configs
from configs.experiment import Experiment, Mesh
from models.config import Attention, ModelConfig
from models.flops import train_flops_palm
from zoo.distribution.sharding import mesh_shape
from zoo.planning import hardware
from zoo.planning.hardware import Topology

_MAXTEXT = "MaxText, MaxText/configs"
_FOUNDRY = "MosaicML llm-foundry, scripts/train/benchmarking/README.md"
_TITAN = "torchtitan, docs/performance.md"


@dataclass(frozen=True, kw_only=True)
class PublishedRun:
    """One run whose speed is published."""

    name: str
    experiment: Experiment
    topology: Topology
    shape: dict[str, int]
    mfu: float
    source: str
    assumed: str = ""
    """The values that the source leaves open and that are assumed here; empty if there are none."""


def _gpt(num_layers: int, d_model: int, num_heads: int, vocab_size: int) -> ModelConfig:
    """Return a model of GPT's kind: a product up and one down, tied embeddings."""
    model = configs.get("gpt2_124m").model
    return dataclasses.replace(
        model,
        vocab_size=vocab_size,
        num_layers=num_layers,
        d_model=d_model,
        attention=_attention(num_heads, num_heads, d_model // num_heads),
        feed_forward=dataclasses.replace(model.feed_forward, d_ff=4 * d_model),
    )


def _llama(
    num_layers: int,
    d_model: int,
    num_heads: int,
    d_ff: int,
    *,
    num_kv_heads: int | None = None,
    head_dim: int = 128,
    vocab_size: int = 32_000,
) -> ModelConfig:
    """Return a model of LLaMA's kind: two products up and one down."""
    model = configs.get("llama_7b").model
    return dataclasses.replace(
        model,
        vocab_size=vocab_size,
        num_layers=num_layers,
        d_model=d_model,
        attention=_attention(num_heads, num_kv_heads or num_heads, head_dim),
        feed_forward=dataclasses.replace(model.feed_forward, d_ff=d_ff),
    )


def _attention(num_heads: int, num_kv_heads: int, head_dim: int) -> Attention:
    return Attention(num_heads=num_heads, num_kv_heads=num_kv_heads, head_dim=head_dim)


@functools.cache
def published_runs() -> tuple[PublishedRun, ...]:
    """Return all of them."""
    return (*_papers(), *_maxtext(), *_llm_c(), *_torchtitan(), *_foundry())


def _papers() -> Iterator[PublishedRun]:
    yield _run(
        "PaLM-540B",
        configs.get("palm_540b").model,
        "v4:12x16x16",
        {"data": 2, "fsdp": 256, "tensor": 12},
        2048,
        2048,
        "full",
        mfu=0.462,
        slices=2,
        source="Chowdhery et al. 2022, section 4.1",
        assumed="4 micro-batches",
        micro_batches=4,
    )
    yield _run(
        "Gopher-280B",
        configs.get("gopher_280b").model,
        "v3:32x32",
        {"data": 4, "fsdp": 256, "tensor": 8},
        3072,
        2048,
        "full",
        mfu=0.325,
        slices=4,
        source="Chowdhery et al. 2022, table 3",
        assumed="the mesh, and 3 micro-batches",
        micro_batches=3,
    )
    for gpus, copies, mfu, figures in (
        (2240, 8, 0.302, "126 TFLOP/s with recomputation; MFU: PaLM's table 3"),
        (3360, 12, 0.302 * 60.1 * 2240 / (44.4 * 3360), "44.4 s per step instead of 60.1 s"),
    ):
        yield _run(
            f"MT-NLG-530B, {gpus:,}",
            configs.get("mt_nlg_530b").model,
            f"a100_80gb:{gpus}",
            {"data": copies, "tensor": 8, "pipeline": 35},
            1920,
            2048,
            "full",
            mfu=mfu,
            source=f"Smith et al. 2022, section 2.4: {figures}",
            in_flight=1920 // copies,
        )
    llama = configs.get("llama_65b").model
    yield _run(
        "LLaMA-65B",
        llama,
        "a100_80gb:2048",
        {"fsdp": 256, "tensor": 8},
        2048,
        2048,
        "dots",
        mfu=380 * train_flops_palm(llama, 65.2e9, 2048) / 312e12,
        source="Touvron et al. 2023, section 2.4: 380 tokens/s per GPU",
        assumed="the mesh",
    )


def _maxtext() -> Iterator[PublishedRun]:
    runs = (
        # name, model, topology, slices, mesh, sequences, length, remat, MFU, script
        ("22B", _gpt(48, 6144, 24, 32_000), "v4:4x4x4", 1, (1, 64, 1), 13 * 64, 2048, "full",
         0.567, "v4/22b.sh"),
        ("22B, 8 slices", _gpt(48, 6144, 24, 32_000), "v4:4x4x4", 8, (8, 64, 1), 13 * 512, 2048,
         "full", 0.532, "v4/22b.sh"),
        ("LLaMA-2-70B", _llama(80, 8192, 64, 28_672, num_kv_heads=8), "v5p:4x4x4", 1, (1, 64, 1),
         4 * 64, 4096, "narrow", 0.65, "v5p/llama2_70b.sh"),
        ("LLaMA-2-70B", _llama(80, 8192, 64, 28_672, num_kv_heads=8), "v5e:16x16", 1, (1, 256, 1),
         2 * 256, 2048, "full", 0.57, "v5e/llama2_70b.sh"),
        ("16B", _llama(32, 8192, 32, 14_336), "v5e:16x16", 1, (1, 256, 1), 6 * 256, 2048, "full",
         0.6110, "v5e/16b.sh"),
        ("16B, 8 slices", _llama(32, 8192, 32, 14_336), "v5e:16x16", 8, (8, 256, 1), 6 * 2048,
         2048, "full", 0.5827, "v5e/16b.sh"),
        ("128B", _llama(64, 16_384, 64, 28_672), "v5e:16x16", 1, (1, 16, 16), 256, 2048, "dots",
         0.5606, "v5e/128b.sh"),
        ("32B", _llama(32, 8192, 64, 28_672), "v5p:4x4x4", 1, (1, 16, 4), 7 * 64, 2048, "dots",
         0.7147, "v5p/32b.sh"),
        ("128B", _llama(64, 16_384, 64, 28_672), "v5p:4x4x8", 1, (1, 16, 8), 128, 2048, "dots",
         0.6868, "v5p/128b.sh"),
    )  # fmt: skip
    for name, model, topology, slices, (
        data,
        fsdp,
        tensor,
    ), rows, length, remat, mfu, script in runs:
        table = "Run_Llama2.md" if "LLaMA" in name else f"{script.split('/')[0]}/README.md"
        yield _run(
            f"MaxText {name}",
            model,
            topology,
            {"data": data, "fsdp": fsdp, "tensor": tensor},
            rows,
            length,
            remat,
            mfu=mfu,
            slices=slices,
            source=f"{_MAXTEXT}: {table}, {script}",
        )


def _llm_c() -> Iterator[PublishedRun]:
    runs = (
        # model, parameters, chips, peak, sequences, micro-batches, seconds per step
        ("gpt2_124m", 124.4e6, "a100_80gb:8", 312e12, 512, 1, 0.3),
        ("gpt2_1558m", 1558e6, "h100:8", 989e12, 1024, 8, 2.8),
    )
    for name, size, topology, peak, rows, micro_batches, step_s in runs:
        model = configs.get(name).model
        flops = train_flops_palm(model, size, 1024) * rows * 1024
        yield _run(
            f"llm.c GPT-2 {name.removeprefix('gpt2_').upper()}",
            model,
            topology,
            {"data": 8},
            rows,
            1024,
            "none",
            mfu=flops / step_s / (8 * peak),
            source=f"llm.c, scripts/run_{name.replace('m', 'M')}.sh: {step_s:g} s per step",
            micro_batches=micro_batches,
        )


def _torchtitan() -> Iterator[PublishedRun]:
    runs = (
        ("LLaMA-2-13B", _llama(40, 5120, 40, 13_824), 128, 4096, "none", 0.611),
        ("LLaMA-2-70B", _llama(80, 8192, 64, 28_672, num_kv_heads=8), 128, 4096, "full", 0.505),
        ("LLaMA-3-8B", _llama(32, 4096, 32, 14_336, num_kv_heads=8, vocab_size=128_256), 64, 8192,
         "dots", 0.582),
        ("LLaMA-3-70B", _llama(80, 8192, 64, 28_672, num_kv_heads=8, vocab_size=128_256), 64, 8192,
         "full", 0.517),
    )  # fmt: skip
    for name, model, rows, length, remat, mfu in runs:
        yield _run(
            f"torchtitan {name}",
            model,
            "a100_80gb:64",
            {"fsdp": 64},
            rows,
            length,
            remat,
            mfu=mfu,
            source=_TITAN,
            assumed="the network: 200 Gbit/s per GPU",
        )


def _foundry() -> Iterator[PublishedRun]:
    runs = (
        # layers, width, heads, GPUs, rows per GPU and micro-batch, micro-batches, length, remat
        ("1B", (24, 2048, 16), 8, 14, 1, 2048, "none", 0.4182),
        ("7B", (32, 4096, 32), 8, 6, 1, 2048, "none", 0.4644),
        ("7B, 8,192 tokens", (32, 4096, 32), 8, 8, 2, 8192, "full", 0.3714),
        ("13B", (40, 5120, 40), 8, 2, 1, 2048, "none", 0.3979),
        ("13B", (40, 5120, 40), 64, 2, 1, 2048, "none", 0.3986),
        ("30B", (48, 7168, 56), 32, 14, 3, 2048, "full", 0.4392),
        ("70B", (80, 8192, 64), 64, 8, 4, 2048, "full", 0.4257),
    )
    for name, sizes, gpus, rows, micro_batches, length, remat, mfu in runs:
        yield _run(
            f"MPT-{name}",
            _gpt(*sizes, 50_368),
            f"h100:{gpus}",
            {"fsdp": gpus},
            rows * micro_batches * gpus,
            length,
            remat,
            mfu=mfu,
            source=_FOUNDRY,
            micro_batches=micro_batches,
        )


def _run(
    name: str,
    model: ModelConfig,
    topology: str,
    mesh: dict[str, int],
    num_rows: int,
    seq_len: int,
    remat: str,
    *,
    mfu: float,
    source: str,
    slices: int = 1,
    micro_batches: int = 1,
    in_flight: int | None = None,
    assumed: str = "",
) -> PublishedRun:
    base = configs.get("llama_7b")
    devices = hardware.parse(topology, slices)
    parts = dataclasses.replace(Mesh(pipeline_micro_batches=in_flight), **cast(Any, mesh))
    experiment = dataclasses.replace(
        base,
        model=dataclasses.replace(model, context_length=seq_len),
        mesh=parts,
        seq_len=seq_len,
        batch_tokens=num_rows * seq_len,
        batch_ramp=None,
        micro_batches=micro_batches,
        execution=dataclasses.replace(base.execution, dtype="bfloat16", remat=cast(Any, remat)),
    )
    return PublishedRun(
        name=name,
        experiment=experiment,
        topology=devices,
        shape=mesh_shape(parts, devices.num_devices),
        mfu=mfu,
        source=source,
        assumed=assumed,
    )
