"""The policy on divergence: each step is judged once its numbers are on the host.

The numbers are the same in all processes, and so is every verdict. It depends only on them and on
what a checkpoint holds: a run that was killed and resumed meets the same events.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path

from configs.experiment import Divergence, Experiment
from zoo.checkpoints.history import Event, History, Kind
from zoo.training.divergence import MEASURED
from zoo.training.step import MUST_BE_FINITE

_FINITE = (*MUST_BE_FINITE, "eval/loss", "eval/bits_per_byte")


class DivergedStep(Exception):
    """A step after which the run ends or goes back. `history` holds the events before it."""

    def __init__(self, step: int, reason: str, numbers: dict[str, float | None], history: History):
        super().__init__(f"step {step}: {reason}")
        self.step, self.reason, self.numbers, self.history = step, reason, numbers, history


class Watch:
    """The judge of a run's steps, and the keeper of its history."""

    def __init__(self, policy: Divergence, history: History, publish: Callable[[Event], None]):
        """`publish` takes each new event, to write it down and to show it."""
        self._policy = policy
        self._publish = publish
        self.history = history

    def note_evaluation(self, step: int, loss: float) -> None:
        """Take the validation loss after a step."""
        self.history = self.history.with_evaluation(step, loss)

    def judge(self, step: int, values: dict[str, float]) -> None:
        """Judge a step by its metrics, with those of an evaluation after it.

        Raises DivergedStep unless the run can continue with the state that it has.
        """
        policy = self._policy
        reason = _not_finite(values) or _spike(values, policy)
        if reason is None:
            return
        numbers = _numbers(values)
        if values.get("train/skipped"):
            if len(self._newer(step, "skip")) >= policy.attempts:
                reason += (
                    f", and {policy.attempts} updates of the last {policy.window} steps are skipped"
                )
                raise DivergedStep(step, reason, numbers, self.history)
            self._add(Event(step, "skip", f"{reason}: its update is skipped", numbers))
        elif _not_finite(values) or policy.action == "rewind":
            raise DivergedStep(step, reason, numbers, self.history)
        elif not self._newer(step, "spike"):
            self._add(Event(step, "spike", f"{reason}: the run continues", numbers))

    def _newer(self, step: int, kind: Kind) -> list[Event]:
        """Return the events of a kind in the window before `step`."""
        events = self.history.of_kind(kind)
        return [event for event in events if event.step > step - self._policy.window]

    def _add(self, event: Event) -> None:
        self.history = self.history.with_event(event)
        self._publish(event)


def _not_finite(values: dict[str, float]) -> str | None:
    names = [name for name in _FINITE if not math.isfinite(values.get(name, 0.0))]
    return (
        f"{' and '.join(names)} {'is' if len(names) == 1 else 'are'} not finite" if names else None
    )


def _spike(values: dict[str, float], policy: Divergence) -> str | None:
    phrases = [
        f"{name}={values[name]:.4g} is {deviation:.1f} deviations above the median"
        for name in MEASURED
        if (deviation := values.get(f"{name}_deviation", 0.0)) > policy.deviations
    ]
    if not phrases:
        return None
    return f"{' and '.join(phrases)} of {policy.window} steps (limit {policy.deviations:g})"


def _numbers(values: dict[str, float]) -> dict[str, float | None]:
    """Return the numbers of a step; of an evaluation, which not every run has, only the faults."""
    by_position = "train/loss_by_position/"
    return {
        name: value if math.isfinite(value) else None
        for name, value in values.items()
        if (name.startswith("train/") and not name.startswith(by_position))
        or (name in _FINITE and not math.isfinite(value))
    }


# --- rewind -------------------------------------------------------------------------------------


def rewind_target(spike: int, saved: Sequence[int], experiment: Experiment) -> int:
    """Return the step to go back to: a saved one, or 0, the start.

    It is the newest that is `rewind_steps` older than the spike; if none is, the oldest. The
    checkpoint of a stop, between multiples of `save_every`, counts only if there is no other: a run
    that was never stopped must choose the same.
    """
    every = experiment.save_every
    before = [step for step in saved if step < spike]
    regular = [step for step in before if step % every == 0]
    candidates = regular or (before if spike > every else [])
    old_enough = [s for s in candidates if s <= spike - experiment.divergence.rewind_steps]
    return max(old_enough, default=min(candidates, default=0))


def rewind_after(
    diverged: DivergedStep, saved: Sequence[int], experiment: Experiment
) -> tuple[Event, History] | None:
    """Return the event of a rewind and the history with it; None if the run must end.

    It must if that is the policy, or if rewinds to the same checkpoint or a later one did not help.
    """
    policy, history = experiment.divergence, diverged.history
    target = rewind_target(diverged.step, saved, experiment)
    again = [e for e in history.of_kind("rewind") if (e.numbers["to_step"] or 0) >= target]
    if policy.action != "rewind" or len(again) >= policy.attempts:
        return None
    # At least up to the batch of the spike.
    num_batches = max(policy.skip_batches, diverged.step - target)
    event = Event(
        diverged.step,
        "rewind",
        f"{diverged.reason}: back to step {target}, leaving out {num_batches} batches",
        diverged.numbers | {"to_step": target, "skipped_batches": num_batches},
    )
    skipped = history.skipped_batches + num_batches
    return event, dataclasses.replace(history.with_event(event), skipped_batches=skipped)


# --- abort --------------------------------------------------------------------------------------


def abort_message(
    diverged: DivergedStep, experiment: Experiment, folder: Path, saved: Sequence[int], command: str
) -> str:
    """Return the message of a run that ends: its last good checkpoint, and how to go on from it."""
    peak = experiment.optimizer.schedule.peak_lr
    tried = len(diverged.history.of_kind("rewind"))
    ended = f"{diverged}{f', also after {tried} rewinds' if tried else ''}"
    if not saved:
        return (
            f"{ended}; no checkpoint was saved before; start over with --fresh and a "
            f"--optimizer.schedule.peak-lr below {peak:g}"
        )
    flag = f"--optimizer.schedule.peak-lr={peak / 2:g}"
    return (
        f"{ended}; the last good checkpoint is {folder}/checkpoints/{saved[-1]}; resume from it "
        f"with a lower rate: {command} {flag}"
    )
