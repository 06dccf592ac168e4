"""The policy on divergence: verdicts, where a rewind goes, and what is said."""

import dataclasses
import math
from pathlib import Path

import pytest

import configs
from configs.experiment import Divergence
from zoo.checkpoints.history import Event, History
from zoo.reporting.recorded_run import read_events
from zoo.runs.divergence import DivergedStep, Watch, abort_message, rewind_after, rewind_target
from zoo.runs.events import EventsWriter

FINE = {
    "train/loss": 3.0,
    "train/grad_norm": 1.0,
    "train/update_norm": 0.1,
    "train/param_norm": 10.0,
    "train/loss_deviation": 1.0,
    "train/update_norm_deviation": 0.0,
}
SPIKE = FINE | {"train/update_norm_deviation": 7.0}
NANO = configs.get("palm_nano")


def watch(**policy) -> tuple[Watch, list[Event]]:
    events: list[Event] = []
    return Watch(Divergence(**policy), History(), events.append), events


@pytest.mark.parametrize("action", ["abort", "skip", "rewind"])
def test_a_good_step_is_no_event(action):
    judge, events = watch(action=action)
    judge.judge(1, FINE | {"train/loss_by_position/3": math.nan})
    assert events == []


@pytest.mark.parametrize("action", ["abort", "skip", "rewind"])
@pytest.mark.parametrize("name", ["train/loss", "train/param_norm", "eval/loss"])
def test_what_is_not_finite_never_goes_on_with_the_state(action, name: str):
    judge, events = watch(action=action)
    with pytest.raises(DivergedStep, match=f"step 7: {name} is not finite") as diverged:
        judge.judge(7, FINE | {name: math.inf})
    assert (diverged.value.numbers[name], events) == (None, [])


def test_abort_warns_of_a_spike_once_per_window():
    judge, events = watch(action="abort", window=10)
    for step in (20, 21, 29, 30):
        judge.judge(step, SPIKE)
    assert [(event.step, event.kind) for event in events] == [(20, "spike"), (30, "spike")]
    assert "train/update_norm=0.1 is 7.0 deviations above the median" in events[0].message
    assert judge.history.events == tuple(events)


def test_skips_are_events_until_there_are_too_many():
    judge, events = watch(action="skip", window=10, attempts=2)
    skipped = FINE | {"train/loss": math.nan, "train/skipped": 1.0}
    for step in (5, 9, 16):
        judge.judge(step, skipped)
    assert [event.kind for event in events] == ["skip"] * 3
    judge.judge(19, skipped)
    with pytest.raises(DivergedStep, match="2 updates of the last 10 steps are skipped"):
        judge.judge(20, skipped)


@pytest.mark.parametrize(
    ("spike", "saved", "target"),
    [
        (250, [100, 200], 100),
        (300, [100, 200], 200),
        (299, [100, 200], 100),
        (420, [300, 350, 400], 300),
        (120, [100], 100),
        (50, [], 0),
        (50, [40], 0),
        (250, [150, 160], 150),
        (250, [200, 300], 200),
    ],
    ids=[
        "old enough",
        "just old enough",
        "just not",
        "the checkpoint of a stop is left out",
        "the oldest if none is old enough",
        "the start if nothing is saved",
        "the start as without the stop at 40",
        "another interval before",
        "never a later one",
    ],
)
def test_where_a_rewind_goes(spike: int, saved: list[int], target: int):
    policy = Divergence(action="rewind", rewind_steps=100)
    experiment = dataclasses.replace(NANO, save_every=100, divergence=policy)
    assert rewind_target(spike, saved, experiment) == target


def diverged(step: int, history: History) -> DivergedStep:
    return DivergedStep(step, "train/loss is not finite", {"train/loss": None}, history)


def test_rewinds_leave_out_more_and_more_batches_and_end():
    policy = Divergence(action="rewind", rewind_steps=10, skip_batches=30, attempts=2)
    experiment = dataclasses.replace(NANO, save_every=10, divergence=policy)
    history = History()
    for step, skipped in ((25, 30), (75, 30 + 65)):
        found = rewind_after(diverged(step, history), [10], experiment)
        assert found is not None
        event, history = found
        assert event.numbers["to_step"] == 10
        assert history.skipped_batches == skipped
        assert History.from_json(history.to_json()) == history
    assert rewind_after(diverged(26, history), [10], experiment) is None
    assert rewind_after(diverged(26, history), [], experiment) is None  # an earlier one: no way out
    assert rewind_after(diverged(46, history), [10, 30], experiment) is not None  # past it
    aborts = dataclasses.replace(experiment, divergence=Divergence())
    assert rewind_after(diverged(25, History()), [10], aborts) is None


def test_the_message_of_an_abort_names_the_checkpoint_and_the_command():
    message = abort_message(diverged(25, History()), NANO, Path("run"), [10, 20], "COMMAND")
    assert message == (
        "step 25: train/loss is not finite; the last good checkpoint is run/checkpoints/20; resume "
        "from it with a lower rate: COMMAND --optimizer.schedule.peak-lr=0.005"
    )


def test_a_resumed_run_restores_the_events_of_its_checkpoint(tmp_path: Path):
    first, second, third = (Event(step, "spike", "high", {"x": None}) for step in (1, 2, 3))
    with EventsWriter(tmp_path, History()) as writer:
        writer.write(first)
        writer.write(second)
    with EventsWriter(tmp_path, History((first,))) as writer:
        writer.write(third)
    assert [event["step"] for event in read_events(tmp_path)] == [1, 3]
    assert read_events(tmp_path)[0] == dataclasses.asdict(first)
