"""Whole runs of palm_nano: what they write, and that stopping and going on changes nothing."""

import json
import shlex
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.zoo.reporting.pages import parse
from zoo import train
from zoo.checkpoints import checkpoint
from zoo.reporting.record import read_record
from zoo.runs import metrics

PNG = b"\x89PNG\r\n\x1a\n"


def test_run_ends_well_and_prints_one_json_object(trained):
    assert trained.process.returncode == 0, trained.process.stderr
    summary = json.loads(trained.process.stdout)
    last = trained.metrics()[-1]
    assert summary["model"] == "palm_nano"
    assert summary["step"] == last["step"] == 6
    assert summary["eval/bits_per_byte"] == last["eval/bits_per_byte"]
    assert set(summary["baselines"]) == {"xz -9", "byte 5-gram"}
    assert summary["perf/tokens_per_s"] > 0
    assert summary["sample"]
    assert "Traceback" not in trained.process.stderr


def test_run_says_what_it_trains_on_what_and_how_well(trained):
    said = trained.process.stderr
    for part in (
        "devices: 1 x cpu",
        "palm_nano: 42,592 parameters",
        "multi-query attention, 4 query heads of 8 share one",
        "6 steps of 8 x 64 tokens = 3,072 tokens",
        f"workdir: {trained.workdir}",
        "first loss",
        "step 6/6",
        "MFU n/a",
        "bits per byte (xz -9",
        "does not beat xz -9 and byte 5-gram",
        " a sample ",
        f"python -m zoo.sample --checkpoint={trained.workdir}",
        shlex.join(
            ["python", "-m", "zoo.train"]
            + [flag for flag in trained.flags if not flag.startswith("--num-steps")]
            + ["--num-steps=12"]
        ),
    ):
        assert part in said


def test_metrics_have_one_line_a_step(trained):
    rows = trained.metrics()
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    always = {
        "step",
        "train/loss",
        "train/z_loss",
        "train/grad_norm",
        "train/lr",
        "train/update_norm",
        "train/param_norm",
        "train/logit_rms",
        *(f"train/loss_by_position/{part}" for part in range(8)),
        "train/loss_deviation",
        "train/update_norm_deviation",
        "data/epochs",
        "data/tokens",
    }
    speed = {"perf/tokens_per_s", "perf/input_wait_s"}  # and no MFU on a CPU
    evaluated = {"eval/loss", "eval/bits_per_byte"}
    for row in rows:
        first, evaluates = row["step"] == 1, row["step"] in (3, 6)
        assert set(row) == always | (set() if first else speed) | (
            evaluated if evaluates else set()
        )
    assert rows[-1]["train/loss"] < rows[0]["train/loss"]


def test_tensorboard_shows_the_same_values(trained):
    events = EventAccumulator(str(trained.workdir / "tensorboard"))
    events.Reload()
    for key in ("train/loss", "train/lr", "eval/bits_per_byte"):
        shown = {event.step: event.value for event in events.Scalars(key)}
        assert shown == {
            row["step"]: np.float32(row[key]) for row in trained.metrics() if key in row
        }


def folder_of_samples(workdir: Path) -> list[Path]:
    return list((workdir / "samples").iterdir())


def test_workdir_holds_config_plot_samples_and_checkpoints(trained):
    config = json.loads((trained.workdir / "config.json").read_text())
    assert config["num_steps"] == 6
    assert config["model"]["vocab_size"] == 400
    assert config["execution"]["dtype"] == "float32"  # resolved, not "auto"
    assert (trained.workdir / "loss.png").read_bytes().startswith(PNG)
    samples = {path.name: path.read_text("utf-8") for path in folder_of_samples(trained.workdir)}
    assert set(samples) == {"000003.txt", "000006.txt"}
    assert samples["000003.txt"] != samples["000006.txt"]
    assert all(text.strip() for text in samples.values())
    assert checkpoint.saved_steps(trained.workdir) == [3, 6]
    assert checkpoint.read_run(checkpoint.find(trained.workdir)).experiment.num_steps == 6


def test_workdir_holds_a_page_and_a_record_of_how_the_run_went(trained):
    page = parse((trained.workdir / "report.html").read_text("utf-8"))
    for text in ("finished · step 6 of 6", "bits per byte", "training loss", "python -m zoo.train"):
        assert text in page.text
    assert "could not be drawn" not in trained.process.stderr
    record = read_record(trained.workdir)
    assert record is not None
    (start,) = record.starts
    assert (start.first_step, start.outcome) == (0, "finished")
    assert start.flags == [*trained.flags, "--json"]
    assert set(record.data_fingerprint) >= {"corpus", "vocabulary"}


def test_a_tracker_that_is_not_installed_is_named_before_anything_is_written(
    nano, tmp_path, run_here, monkeypatch
):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    outcome = run_here(train.main, *nano, f"--workdir={tmp_path / 'run'}", "--track=wandb")
    assert outcome.code == 2
    assert "run pip install 'gpt-zoo[wandb]'" in outcome.stderr
    assert not (tmp_path / "run").exists()


def test_same_command_again_changes_nothing_and_more_steps_go_on(
    copied, nano, run_here, losses, trained
):
    again = run_here(train.main, *nano, f"--workdir={copied}", "--json")
    assert again.code == 0, again.stderr
    assert json.loads(again.stdout)["step"] == 6
    assert (copied / "metrics.jsonl").read_text() == (trained.workdir / "metrics.jsonl").read_text()

    more = run_here(train.main, *nano, f"--workdir={copied}", "--num-steps=8")
    assert more.code == 0, more.stderr
    assert "resuming from checkpoints/6" in more.stderr
    assert [row["step"] for row in losses(copied)] == [1, 2, 3, 4, 5, 6, 7, 8]


def test_the_first_step_after_a_resume_is_evaluated_in_the_metrics_too(
    copied, nano, run_here, losses
):
    outcome = run_here(train.main, *nano, f"--workdir={copied}", "--num-steps=7", "--json")
    assert outcome.code == 0, outcome.stderr
    last = losses(copied)[-1]
    assert last["step"] == 7
    assert last["eval/bits_per_byte"] == json.loads(outcome.stdout)["eval/bits_per_byte"]


def test_a_run_goes_on_where_its_text_has_moved(
    copied, nano, corpus_glob, tmp_path, run_here, losses
):
    moved = shutil.copytree(Path(corpus_glob).parent, tmp_path / "elsewhere" / "corpus")
    outcome = run_here(
        train.main, *nano, f"--data.files={moved}/*.txt", f"--workdir={copied}", "--num-steps=8"
    )
    assert outcome.code == 0, outcome.stderr
    assert "resuming from checkpoints/6" in outcome.stderr
    assert losses(copied)[-1]["step"] == 8


def test_fresh_deletes_the_run_and_nothing_else(copied, nano, run_here, losses):
    (copied / "notes.txt").write_text("mine")
    (copied / "checkpoints" / "6" / "stale").write_text("")
    outcome = run_here(
        train.main, *nano, f"--workdir={copied}", "--fresh", "--num-steps=2", "--seed=1"
    )
    assert outcome.code == 0, outcome.stderr
    assert [row["step"] for row in losses(copied)] == [1, 2]
    assert checkpoint.saved_steps(copied) == [2]
    assert [path.name for path in folder_of_samples(copied)] == ["000002.txt"]
    assert (copied / "notes.txt").read_text() == "mine"


def test_a_stopped_run_goes_on_bit_for_bit(
    trained, nano, tmp_path, signalled_process, run_here, losses
):
    """Ctrl-C, a pre-emption and a crash, then the end: the same lines as of a run in one piece."""
    flags = [*nano, "--num-steps=120", "--eval-every=50", "--save-every=1000"]
    stopped, whole = tmp_path / "stopped", tmp_path / "whole"

    interrupted = signalled_process(signal.SIGINT, stopped, 8, *flags)
    assert interrupted.returncode == 130, interrupted.stderr
    assert "resumes from there" in interrupted.stderr
    (first_stop,) = checkpoint.saved_steps(stopped)
    assert 8 <= first_stop < 120
    assert f"saved step {first_stop} of 120" in interrupted.stderr

    preempted = signalled_process(signal.SIGTERM, stopped, first_stop + 8, *flags)
    assert preempted.returncode == 75, preempted.stderr
    second_stop = checkpoint.saved_steps(stopped)[-1]
    assert first_stop + 8 <= second_stop < 120

    killed = signalled_process(signal.SIGKILL, stopped, second_stop + 8, *flags)
    assert killed.returncode == -signal.SIGKILL
    assert checkpoint.saved_steps(stopped)[-1] == second_stop
    assert losses(stopped)[-1]["step"] > second_stop

    for workdir in (stopped, whole):
        outcome = run_here(train.main, *flags, f"--workdir={workdir}")
        assert outcome.code == 0, outcome.stderr
    assert [row["step"] for row in losses(whole)] == list(range(1, 121))
    assert losses(stopped) == losses(whole)


def test_a_stopped_streamed_run_goes_on_bit_for_bit(
    streamed, tmp_path, signalled_process, run_here, losses
):
    flags = [*streamed, "--num-steps=120", "--eval-every=50", "--save-every=1000"]
    stopped, whole = tmp_path / "stopped", tmp_path / "whole"
    preempted = signalled_process(signal.SIGTERM, stopped, 60, *flags)
    assert preempted.returncode == 75, preempted.stderr
    assert "the training text is streamed, not cached" in preempted.stderr
    (stop,) = checkpoint.saved_steps(stopped)
    assert 60 <= stop < 120
    for workdir in (stopped, whole):
        outcome = run_here(train.main, *flags, f"--workdir={workdir}")
        assert outcome.code == 0, outcome.stderr
    rows = losses(whole)
    assert [row["step"] for row in rows] == list(range(1, 121))
    assert losses(stopped) == rows
    assert [row["data/tokens"] for row in rows] == [step * 512 for step in range(1, 121)]

    cached = [flag for flag in flags if flag != "--data.streaming"]
    refused = run_here(train.main, *cached, f"--workdir={stopped}", "--num-steps=122")
    assert refused.code == 2
    assert "data.streaming was True, now False" in refused.stderr

    shutil.rmtree(checkpoint.find(stopped) / "stream")
    damaged = run_here(train.main, *flags, f"--workdir={stopped}", "--num-steps=122")
    assert damaged.code == 0, damaged.stderr
    said = " ".join(damaged.stderr.split())
    assert "the checkpoint of step 120 is damaged: stream/" in said
    assert f"the run resumes from step {stop}" in said
    of_steps = [row["train/loss"] for row in rows]
    assert [row["train/loss"] for row in losses(stopped)[:120]] == of_steps


def test_a_stream_begins_anew_where_that_is_allowed(streamed, tmp_path, run_here, losses):
    flags = [*streamed, f"--workdir={tmp_path / 'run'}"]
    assert run_here(train.main, *flags, "--num-steps=3").code == 0
    with (tmp_path / "lines.txt").open("a") as file:
        file.write("one more line\n")
    refused = run_here(train.main, *flags, "--num-steps=6")
    assert refused.code == 3
    assert "(corpus differs)" in refused.stderr
    allowed = run_here(train.main, *flags, "--num-steps=6", "--data.allow-change")
    assert allowed.code == 0, allowed.stderr
    assert "a streamed text starts over" in allowed.stderr
    assert [row["step"] for row in losses(tmp_path / "run")] == [1, 2, 3, 4, 5, 6]


def test_a_checkpoint_of_one_device_goes_on_over_a_mesh_of_eight_and_back(
    copied, tmp_path, trained, nano, run_here, run_process, losses
):
    alone, meshed = tmp_path / "alone", copied
    run_here(train.main, *nano, f"--workdir={alone}", "--num-steps=9")
    mesh = ["--mesh.data=2", "--mesh.fsdp=2", "--mesh.tensor=2", "--fake-devices=8"]
    process = run_process("-m", "zoo.train", *nano, f"--workdir={meshed}", "--num-steps=9", *mesh)
    assert process.returncode == 0, process.stderr
    assert "devices: 8 x cpu" in process.stderr
    assert "resuming from checkpoints/6" in process.stderr
    for workdir in (alone, meshed):
        back = run_here(train.main, *nano, f"--workdir={workdir}", "--num-steps=11")
        assert back.code == 0, back.stderr
    for on_mesh, on_one in zip(losses(meshed), losses(alone), strict=True):
        assert on_mesh == pytest.approx(on_one, rel=1e-4)


def test_divergence_exits_4_and_says_what_to_try(nano, tmp_path, trained, run_here):
    outcome = run_here(
        train.main, *nano, f"--workdir={tmp_path}", "--optimizer.schedule.peak-lr=1e30"
    )
    assert outcome.code == 4
    assert "step 1: train/update_norm and train/param_norm are not finite" in outcome.stderr
    assert "--fresh and a --optimizer.schedule.peak-lr below 1e+30" in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert outcome.stdout == ""
    assert metrics.read_metrics(tmp_path) == []
    assert checkpoint.saved_steps(tmp_path) == []


def test_out_of_memory_says_where_it_goes_and_what_to_try(nano, tmp_path, run_here, monkeypatch):
    def too_large(*_, **__):
        raise MemoryError

    monkeypatch.setattr("zoo.runs.loop.run", too_large)
    outcome = run_here(train.main, *nano, f"--workdir={tmp_path}")
    assert outcome.code == 5
    assert "a step needs about" in outcome.stderr
    assert "optimizer" in outcome.stderr
    assert outcome.stderr.partition("error: ")[2].count("\n  ") == 3
    assert "Traceback" not in outcome.stderr
