"""Tiny training runs for the tests of `zoo`: a PaLM and a GPT-2, packed batches, eight devices."""

import dataclasses
import functools
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import ParamSpec, TypeVar

import jax
import numpy as np

import configs
from configs.experiment import Experiment
from configs.parts.optimizers import AdamW, WarmupCosine
from data.batches.rows import TokenWindows
from data.vocabularies.sentencepiece_model import BOS_ID, EOS_ID
from models.config import Attention, FeedForward
from models.execution import Execution
from tests.models import samples
from zoo.distribution.devices import configure

PALM = dataclasses.replace(
    configs.get("palm_nano"), seq_len=16, batch_tokens=8 * 16, execution=Execution(dtype="float32")
)
GPT2 = dataclasses.replace(
    PALM,
    model=dataclasses.replace(
        samples.GPT2,
        vocab_size=512,
        num_layers=2,
        d_model=32,
        attention=Attention(num_heads=4, num_kv_heads=4, head_dim=8),
        feed_forward=FeedForward(d_ff=64, kind="gelu"),
    ),
    optimizer=AdamW(schedule=WarmupCosine(peak_lr=1e-2, warmup_steps=2)),
)


def packed_batch(experiment: Experiment, seed: int = 0) -> dict[str, np.ndarray]:
    """Return short documents packed into rows; the last rows are padding, so weights are uneven."""
    rng = np.random.default_rng(seed)
    tokens = []
    while len(tokens) < 0.7 * experiment.batch_tokens:
        document = rng.integers(4, experiment.model.vocab_size, size=rng.integers(3, 30))
        tokens += [BOS_ID, *document, EOS_ID]
    windows = TokenWindows(
        np.array(tokens), seq_len=experiment.seq_len, sizes=experiment.batch_sizes, seed=0
    )
    return next(windows.eval_batches(experiment.batch_size))


P = ParamSpec("P")
R = TypeVar("R")


def on_eight_devices(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Return function(*args, **kwargs), run in a process with eight CPU devices.

    The function must be at the top level of its module.
    """
    return _eight_devices().submit(function, *args, **kwargs).result()


@functools.cache
def _eight_devices() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(
        max_workers=1,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_make_eight_devices,
    )


def _make_eight_devices() -> None:
    configure(fake_devices=8)
    # The tests compile many programs in that process and run each for only a few steps.
    jax.config.update("jax_disable_most_optimizations", True)
