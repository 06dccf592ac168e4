"""Shared by all tests: a small text corpus, and one cache for the whole session."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

# PyTorch's Triton and TensorFlow each bring an LLVM of their own, and whichever is loaded second
# crashes the process. PyTorch does without Triton where it is not to be had.
_modules: dict[str, Any] = sys.modules
_modules["triton"] = None

# Most of the time of a test is compilation, which takes half as long without LLVM's optimisation.
# Processes that tests start inherit it.
os.environ["XLA_FLAGS"] = (
    f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0".strip()
)

# A suite that a script starts in the background ignores Ctrl-C, and so would the processes that
# tests send it to.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

TEXT = "a model reads tokens and learns which of them comes next ; def loss ( x ) : return x"


def _document(number: int) -> str:
    """A few hundred lines of made-up, repetitive text that differs from document to document."""
    words = TEXT.split()
    lines = []
    for line in range(120):
        chosen = [words[(number * 7 + line * 3 + i * i) % len(words)] for i in range(9)]
        lines.append(" ".join(chosen) + f" {number * line % 97}\n")
    return "".join(lines)


@pytest.fixture(scope="session")
def session_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for the session, shared by the workers of pytest-xdist."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "session"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def corpus_glob(session_folder: Path) -> str:
    """A glob of 30 small text files."""
    folder = session_folder / "corpus"
    folder.mkdir(exist_ok=True)
    for number in range(30):
        path = folder / f"{number:02}.txt"
        if not path.exists():
            partial = folder / f"{number:02}.{os.getpid()}"
            partial.write_text(_document(number))
            partial.replace(path)
    return str(folder / "*.txt")


@pytest.fixture(scope="module", autouse=True)
def _few_programs():
    """Keep a worker, which compiles thousands of programs, from holding all of them to its end."""
    from zoo.common.compiled import release_programs

    yield
    release_programs()


@pytest.fixture(scope="session", autouse=True)
def private_cache(session_folder: Path):
    """A cache folder for the session, also for the processes that tests start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(session_folder / "cache"))
        yield
