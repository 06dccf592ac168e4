"""The arithmetic of an evaluation."""

import math
from typing import Any

import pytest
from flax import nnx

from zoo.inference.evaluation import Evaluation, evaluate


def test_loss_perplexity_and_bits_per_byte():
    """Ten tokens, each one of 8 equally likely, that spell 15 bytes: 30 bits for 15 bytes."""
    evaluation = Evaluation(nats=10 * math.log(8), num_tokens=10, num_bytes=15)
    assert evaluation.loss == pytest.approx(math.log(8))
    assert evaluation.perplexity == pytest.approx(8)
    assert evaluation.bits_per_byte == pytest.approx(2)


class Sums:
    """A batch's sums, which note when they are read."""

    def __init__(self, log: list[str], name: str, nats: float, tokens: float):
        self._log, self._name, self._nats, self.tokens = log, name, nats, tokens

    @property
    def nats(self) -> float:
        self._log.append(f"read {self._name}")
        return self._nats


def test_tokens_weigh_alike_and_a_batch_is_read_while_the_next_is_under_way():
    log: list[str] = []
    sums = {"a": (16.0, 8.0), "b": (9.0, 8.0), "c": (2.0, 2.0)}  # the last is mostly padding

    def eval_step(params: nnx.State, batch: Any) -> Any:
        log.append(f"start {batch}")
        return Sums(log, batch, *sums[batch])

    batches: Any = iter(sums)
    evaluation = evaluate(eval_step, nnx.State({}), batches, num_bytes=9)
    assert evaluation == Evaluation(nats=27.0, num_tokens=18, num_bytes=9)
    assert evaluation.loss == 1.5
    assert log == ["start a", "start b", "read a", "start c", "read b", "read c"]
