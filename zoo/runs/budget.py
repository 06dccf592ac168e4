"""Budgets of a run other than steps: tokens, training FLOPs, epochs, hours."""

from dataclasses import dataclass, replace
from typing import assert_never

from configs.experiment import Experiment
from data.batches.rows import Rows
from data.training_data import TrainingData
from models.config import ConfigError, check


@dataclass(frozen=True)
class Tokens:
    """As many steps as come nearest to this number of tokens."""

    number: float


@dataclass(frozen=True)
class Flops:
    """As many steps as come nearest to this number of training FLOPs, 6N + 12LHQT a token."""

    number: float


@dataclass(frozen=True)
class Epochs:
    """As many steps as come nearest to this number of passes over the training text."""

    number: float


Budget = Tokens | Flops | Epochs


def from_flags(tokens: float | None, flops: float | None, epochs: float | None) -> Budget | None:
    """Return the budget that one of the flags gives; None if none does.

    Raises ConfigError if several do, or if one is not above zero.
    """
    given: dict[str, Budget] = {}
    if tokens is not None:
        given["--num-tokens"] = Tokens(tokens)
    if flops is not None:
        given["--num-flops"] = Flops(flops)
    if epochs is not None:
        given["--num-epochs"] = Epochs(epochs)
    check(
        len(given) <= 1,
        f"{' and '.join(given)} are budgets of one run; write one of them (--max-hours and "
        "--patience may end the run earlier)",
    )
    for flag, budget in given.items():
        check(0 < budget.number < float("inf"), f"{flag}={budget.number:g} must be above zero")
        return budget
    return None


def with_budget(experiment: Experiment, budget: Budget | None, data: TrainingData) -> Experiment:
    """Return the experiment with the steps that the budget allows: None leaves them as they are.

    Raises ConfigError if the text has no epochs: it is a mixture, or streamed.
    """
    match budget:
        case None:
            return experiment
        case Tokens(number):
            return experiment.lasting(number)
        case Flops(number):
            return experiment.lasting(number / experiment.train_flops_per_token)
        case Epochs(number):
            rows = data.train
            if not isinstance(rows, Rows):
                raise ConfigError(
                    "--num-epochs needs one text in the cache: the sources of a mixture have "
                    "epochs of their own, and the end of a stream is not known; write --num-tokens"
                )
            num_steps = experiment.batch_sizes.steps(number * len(rows))
            return replace(experiment, num_steps=max(1, num_steps))
        case _:
            assert_never(budget)
