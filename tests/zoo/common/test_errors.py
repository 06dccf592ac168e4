"""Exit codes, and what a person reads."""

import jax
import jax.numpy as jnp
import pytest

from data.errors import DataConfigError, DataError
from models.config import ConfigError
from zoo.common import errors
from zoo.common.errors import (
    CheckpointError,
    DivergedError,
    LostHostError,
    OtherHostError,
    OutOfMemoryError,
    StoppedError,
    WorkdirError,
)

XLA_OUT_OF_MEMORY = jax.errors.JaxRuntimeError(
    "RESOURCE_EXHAUSTED: Out of memory allocating 1234567 bytes.\n"
    "BufferAssignment OOM Debugging.\n"
    "Largest program allocations in hbm:\n"
)
LOST_PEER = jax.errors.JaxRuntimeError(
    "UNKNOWN: Gloo all-reduce failed: Connection closed by peer [10.0.0.2]:61058"
)
REMEDIES = ["--execution.remat=full", "--micro-batches", "--mesh.fsdp"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("x"), 2),
        (DataConfigError("x"), 2),
        (WorkdirError("x"), 2),
        (DataError("x"), 3),
        (CheckpointError("x"), 3),
        (DivergedError("x"), 4),
        (OutOfMemoryError("x"), 5),
        (XLA_OUT_OF_MEMORY, 5),
        (MemoryError(), 5),
        (LOST_PEER, 6),
        (LostHostError("x", 2), 2),
        (OtherHostError("x", 3), 3),
        (StoppedError("x", 75), 75),
        (StoppedError("x", 130), 130),
        (ValueError("x"), None),
        (ValueError("RESOURCE_EXHAUSTED: but not JAX's"), None),
        (jax.errors.JaxRuntimeError("INTERNAL: a bug"), None),
    ],
    ids=repr,
)
def test_exit_code(error: Exception, code: int | None):
    assert errors.exit_code(error) == code


@pytest.mark.parametrize(
    "error", [ConfigError("d_model=3: [odd]\nchoose 4"), StoppedError("x", 75)]
)
def test_other_messages_stand_as_they_are(error: Exception):
    assert errors.message(error) == str(error)


def check_out_of_memory(message: str) -> None:
    """One line, with the remedies in the order in which to try them."""
    assert message.startswith("out of memory (")
    assert "\n" not in message
    assert "RESOURCE_EXHAUSTED" not in message
    places = [message.find(remedy) for remedy in REMEDIES]
    assert min(places) > 0
    assert places == sorted(places)


def test_out_of_memory_has_remedies_instead_of_the_buffers():
    message = errors.message(XLA_OUT_OF_MEMORY)
    check_out_of_memory(message)
    assert "(Out of memory allocating 1234567 bytes.)" in message
    assert "BufferAssignment" not in message


def test_a_long_reason_is_cut():
    error = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: " + "x" * 5000)
    check_out_of_memory(errors.message(error))
    assert errors.message(error).count("x") < 250


def test_a_lost_peer_has_a_remedy_and_the_reason():
    message = errors.message(LOST_PEER)
    assert "start all of them again with the same command" in message
    assert message.endswith("Connection closed by peer [10.0.0.2]:61058)")
    assert errors.message(LostHostError("process 1 of 2 did not come", 2)) == (
        "process 1 of 2 did not come"
    )


def test_real_errors_are_recognised():
    with pytest.raises(Exception, match="RESOURCE_EXHAUSTED") as refusal:
        jnp.ones(1 << 46, jnp.int8).block_until_ready()
    assert errors.exit_code(refusal.value) == 5
    check_out_of_memory(errors.message(refusal.value))


def test_pythons_own_error_has_no_text():
    with pytest.raises(MemoryError) as refusal:
        bytearray(1 << 60)
    assert str(refusal.value) == ""
    check_out_of_memory(errors.message(refusal.value))


@pytest.mark.parametrize("error", [XLA_OUT_OF_MEMORY, MemoryError()], ids=["XLA", "Python"])
def test_a_command_exits_5_without_a_traceback(error: Exception, run_here):
    def main(argv: list[str]) -> None:
        raise error

    outcome = run_here(main)
    assert outcome.code == 5
    assert outcome.stdout == ""
    assert outcome.stderr.startswith("error: out of memory")
    assert len(outcome.stderr.splitlines()) == 1
