"""Commands that read a checkpoint, shared by several processes for real."""

import json

import pytest

from tests.zoo.distribution.jobs import command
from zoo import evaluate, sample
from zoo.checkpoints import checkpoint

MESH = ("--mesh.fsdp=2", "--mesh.tensor=2")


def test_two_processes_sample_as_one(trained, run_here):
    flags = (
        f"--checkpoint={trained.workdir}", "--prompt=def ", "--prompt=a model", "--max-tokens=24",
        "--temperature=0",
    )  # fmt: skip
    alone = run_here(sample.main, *flags, "--json")
    with command("zoo.sample", trained.workdir, *flags, *MESH) as two:
        (code, stdout, said), (other_code, other_stdout, _) = two.end()
    assert (code, other_code) == (0, 0), said
    assert other_stdout == ""
    assert json.loads(stdout) == json.loads(alone.stdout)


def test_a_draft_proposes_to_two_processes(trained, run_here):
    flags = (
        f"--checkpoint={trained.workdir}", f"--draft={trained.workdir}", "--ids", "5", "6", "7",
        "--max-tokens=12", "--temperature=0",
    )  # fmt: skip
    alone = run_here(sample.main, *flags, "--json")
    with command("zoo.sample", trained.workdir, *flags, *MESH) as two:
        (code, stdout, said), (other_code, other_stdout, _) = two.end()
    assert (code, other_code) == (0, 0), said
    assert other_stdout == ""
    assert json.loads(stdout)["samples"] == json.loads(alone.stdout)["samples"]


def test_two_processes_evaluate_as_one(trained, run_here):
    flags = (f"--checkpoint={trained.workdir}", "--weights=int8", "--max-tokens=2000")
    alone = json.loads(run_here(evaluate.main, *flags, "--json").stdout)
    with command("zoo.evaluate", trained.workdir, *flags, *MESH) as two:
        (code, stdout, said), (other_code, other_stdout, other_said) = two.end()
    assert (code, other_code) == (0, 0), said
    assert other_stdout == ""
    assert "devices: 4 x cpu (cpu) of 2 processes" in said
    assert "devices:" not in other_said
    together = json.loads(stdout)
    assert together["num_tokens"] == alone["num_tokens"]
    assert together["eval/loss"] == pytest.approx(alone["eval/loss"], rel=1e-4)
    assert together["run_weights"] == pytest.approx(alone["run_weights"], rel=1e-4)


def test_processes_that_disagree_all_say_so(trained):
    flags = (f"--checkpoint={trained.workdir}", "--prompt=def ", *MESH)
    with command("zoo.sample", trained.workdir, *flags, own_flags=("--seed=7",)) as two:
        ends = two.end()
    assert [code for code, _, _ in ends] == [2, 2], ends
    for _, _, said in ends:
        assert "the hosts disagree about what to sample: seed is 0 on" in said
        assert "and 7 on" in said


def test_a_process_without_others_says_how_many_are_missing(trained, run_process):
    step = checkpoint.find(trained.workdir)
    process = run_process(
        "-m", "zoo.sample", f"--checkpoint={step}", "--prompt=def ", "--mesh=auto",
        "--fake-devices=2", "--distributed.coordinator=127.0.0.1:1",
        "--distributed.num-processes=2", "--distributed.process-id=1", "--distributed.timeout-s=2",
    )  # fmt: skip
    assert process.returncode == 2, process.stderr
    assert "error: some of 2 processes did not come within 2 s" in process.stderr
    assert not list(step.glob(".hosts"))


def test_processes_share_a_model_only_over_a_mesh(trained, run_here):
    flags = (f"--checkpoint={trained.workdir}", "--prompt=def ", "--distributed.num-processes=1")
    outcome = run_here(sample.main, *flags)
    assert outcome.code == 2
    assert "write --mesh=auto too" in outcome.stderr
