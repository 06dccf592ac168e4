"""Run a command on malformed input: it must end soon, with one message and a documented code."""

import io
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import jax
import pytest
from flax import nnx

from data.vocabularies.lossless import train_vocabulary
from tests.conftest import TEXT
from tests.models import experiments, samples
from tests.zoo import hf_folders
from zoo.checkpoints.checkpoint import Run
from zoo.checkpoints.writer import write_weights
from zoo.runs import loop

LIMIT_S = 120
DOCUMENTED = {0, 2, 3, 4, 5}

Attempt = Callable[..., int]


class _Hang(BaseException):
    """Raised where a command takes too long; nothing in the zoo catches it."""


@contextmanager
def _limit() -> Iterator[None]:
    def stop(*_) -> None:
        raise _Hang

    previous = signal.signal(signal.SIGALRM, stop)
    signal.alarm(LIMIT_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


@pytest.fixture
def attempt(run_here, monkeypatch, tmp_path) -> Attempt:
    """Runs a command in an empty folder; returns its exit code once it is known to be a good end.

    Training ends before its first step: nothing after it depends on what a user wrote.
    """
    monkeypatch.setattr(loop, "run", lambda *_: SimpleNamespace(summary=dict))
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    place = tmp_path / "here"

    def run(main: Callable[[list[str]], None], *flags: str) -> int:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        monkeypatch.chdir(place)
        (place / "here.txt").write_text(TEXT)
        cache = jax.config.values["jax_compilation_cache_dir"]
        # As in a real process, where nothing that a message quotes is impossible to print.
        cast(io.TextIOWrapper, sys.stderr).reconfigure(errors="backslashreplace")
        with _limit():
            outcome = run_here(main, *flags)
        jax.config.update("jax_compilation_cache_dir", cache)
        assert outcome.code in DOCUMENTED, (flags, outcome)
        if outcome.code:
            assert outcome.stderr.strip(), (flags, outcome)
            assert "Traceback" not in outcome.stderr, (flags, outcome)
            left = [path.name for path in place.rglob("*") if _is_partial(path)]
            assert not left, (flags, left)
        return outcome.code

    return run


def _is_partial(path: Path) -> bool:
    return path.name.startswith(".") or ".partial" in path.name or "-tmp" in path.name


@pytest.fixture(scope="session")
def hf_folder(tmp_path_factory) -> dict[str, Path]:
    """Folders of each architecture, with every form of tokenizer; not to be changed."""
    base = tmp_path_factory.mktemp("hf")
    folders = {
        name: hf_folders.make(base / name, hf_folders.CONFIGS[name]) for name in ("gpt1", "gpt2")
    }
    hf_folders.write_bpe_files(folders["gpt2"])
    folders["llama"] = hf_folders.make(
        base / "llama", hf_folders.CONFIGS["llama grouped"], max_shard_size="20KB"
    )
    (folders["llama"] / "tokenizer.json").unlink()
    hf_folders.write_sentencepiece(folders["llama"])
    return folders


@pytest.fixture(scope="session")
def saved(tmp_path_factory) -> Path:
    """The workdir of a GPT-2 with random weights and a vocabulary; not to be changed."""
    folder = tmp_path_factory.mktemp("saved") / "gpt2"
    params = nnx.state(samples.random_model(experiments.GPT2.model), nnx.Param)
    vocabulary = train_vocabulary([hf_folders.TEXT], 290)
    write_weights(folder, params, Run(experiments.GPT2, {}), vocabulary)
    return folder
