"""The values that an experiment refuses; every field of a config is read."""

import ast
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

import configs
import configs.experiment
import data.config
import models.config
from configs.experiment import Mesh
from configs.parts.optimizers import InverseSquareRoot, WarmupCosine
from models.config import ConfigError

ROOT = Path(__file__).parents[2]
PALM, GPT2 = configs.get("palm_nano"), configs.get("gpt2_124m")


def names_read(tree: ast.AST) -> Iterator[str]:
    """Yield the attributes that a file reads or matches, outside of the validation in configs."""
    if isinstance(tree, ast.FunctionDef) and tree.name == "__post_init__":
        return
    if isinstance(tree, ast.Attribute) and isinstance(tree.ctx, ast.Load):
        yield tree.attr
    if isinstance(tree, ast.MatchClass):
        yield from tree.kwd_attrs
    for child in ast.iter_child_nodes(tree):
        yield from names_read(child)


def test_every_field_of_every_config_is_read():
    sources = [
        ROOT / "configs/experiment.py",
        *(ROOT / "configs/parts").glob("*.py"),
        *(path for folder in ("models", "zoo", "data") for path in (ROOT / folder).rglob("*.py")),
    ]
    read = {name for path in sources for name in names_read(ast.parse(path.read_text()))}
    assert {"num_layers", "theta", "batch_tokens"} <= read
    dead = [
        f"{kind.__name__}.{field.name}"
        for module in (models.config, configs.experiment, data.config)
        for kind in vars(module).values()
        if isinstance(kind, type) and dataclasses.is_dataclass(kind)
        for field in dataclasses.fields(kind)
        if field.name not in read
    ]
    assert not dead


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_steps": 0}, r"num_steps=0 .* --num-steps=1"),
        ({"keep": -1}, r"keep=-1 .* --keep=1"),
        ({"batch_tokens": 500}, r"batch_tokens=500 .* multiple of seq_len=64; .*=448$"),
        ({"micro_batches": 3}, r"micro_batches=3 must divide the batch of 8 sequences"),
        ({"z_loss": -1.0}, r"z_loss=-1\.0 must not be negative"),
    ],
)
def test_a_refusal_names_the_field_the_value_and_the_remedy(change: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(PALM, **change)


def test_learned_positions_bound_the_sequence_and_rotary_ones_do_not():
    with pytest.raises(ConfigError, match=r"seq_len=2048 exceeds model\.context_length=1024"):
        dataclasses.replace(GPT2, seq_len=2048)
    longer = dataclasses.replace(PALM, seq_len=128, batch_tokens=256)
    assert longer.seq_len > longer.model.context_length
    assert longer.batch_size == 2


def test_rates_warm_up_and_mesh_are_checked():
    with pytest.raises(ConfigError, match=r"peak-lr=0\.0"):
        InverseSquareRoot(peak_lr=0.0, constant_steps=1)
    with pytest.raises(ConfigError, match="constant_steps=0"):
        InverseSquareRoot(peak_lr=1.0, constant_steps=0)
    with pytest.raises(ConfigError, match="warmup-steps=-1"):
        WarmupCosine(peak_lr=1.0, warmup_steps=-1)
    with pytest.raises(ConfigError, match=r"initial-lr=2\.0 .* peak-lr=1\.0"):
        WarmupCosine(peak_lr=1.0, warmup_steps=1, initial_lr=2.0)
    with pytest.raises(ConfigError, match="decay-steps=5 must exceed warmup-steps=5"):
        WarmupCosine(peak_lr=1.0, warmup_steps=5, decay_steps=5)
    with pytest.raises(ConfigError, match=r"mesh\.tensor=0 .* --mesh\.tensor=1"):
        Mesh(tensor=0)


def test_tokens_of_a_run_are_steps_times_batch():
    assert PALM.num_tokens == PALM.num_steps * PALM.batch_size * PALM.seq_len
