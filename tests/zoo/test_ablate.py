"""`python -m zoo.ablate` as a person runs it: from the plan to the page, through a kill."""

import json
import signal
import time

import pytest

from tests.zoo.ablation.synthetic import finish, with_choices
from tests.zoo.conftest import DEADLINE_S, start
from tests.zoo.conftest import finish as finish_process
from tests.zoo.reporting.pages import parse
from zoo import ablate
from zoo.reporting.record import read_record

SIZES = ["--vocab-size=400", "--seq-len=64", "--batch-tokens=512", "--num-tokens=2048"]


def flags_of(corpus: str, workdir) -> list[str]:
    ends = ["--from=gpt1_nano", "--to=llama_nano", "--choices", "layout", "--designs", "from_start"]
    return [*ends, *SIZES, f"--files={corpus}", f"--workdir={workdir}"]


def recorded(workdir) -> list[dict]:
    file = workdir / "study.json"
    return json.loads(file.read_text())["runs"] if file.exists() else []


def test_a_study_is_killed_resumed_and_reported(corpus_glob, tmp_path):
    """The killed study has finished runs, which are kept, and a run that goes on.

    A process of its own trains at first, then the process of the study itself.
    """
    workdir = tmp_path / "study"
    few = ["--seeds=2", "--max-doublings=1", "--json"]
    command = ["-m", "zoo.ablate", *flags_of(corpus_glob, workdir), *few]
    process = start(*command)
    give_up_at_s = time.monotonic() + DEADLINE_S
    while len(recorded(workdir)) < 2 and process.poll() is None:
        assert time.monotonic() < give_up_at_s
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert finish_process(process).returncode == -signal.SIGKILL
    before = recorded(workdir)

    resumed = start(*command, "--jobs=0")
    with resumed:
        stdout, stderr = resumed.communicate(timeout=10 * DEADLINE_S)
    assert resumed.returncode == 0, stderr
    after = recorded(workdir)
    assert after[: len(before)] == before
    assert len(after) == 2 * (3 + 2)
    found = json.loads(stdout)
    assert found["finished"]
    (effect,) = found["effects"]["from_start"]
    assert effect["name"] == "layout"
    for variant in found["variants"]:
        assert len(variant["bits_per_byte"]) == 2
        assert 0 < min(variant["bits_per_byte"])
    assert found["choices"] == {"layout": ["post-norm layers", "pre-norm layers"]}
    page = parse((workdir / "study.html").read_text())
    assert page.tags.count("figure") == 1 + 2
    assert " ".join(["python", *command[:2]]) in page.text
    assert (workdir / "from_start.svg").read_text().startswith("<svg xmlns=")
    for run in after:
        record = read_record(workdir / run["workdir"])
        assert record is not None
        assert record.name == run["workdir"].split("/")[-1]


def test_a_dry_run_lists_choices_variants_and_cost_and_trains_nothing(tmp_path, run_here):
    flags = ["--study=gpt1_to_llama", f"--workdir={tmp_path}", "--dry-run"]
    outcome = run_here(ablate.main, *flags)
    assert outcome.code == 0, outcome.stderr
    for part in (
        "position: learned positions -> rotary positions", "variant `end without norm`",
        "22 variants, 132 runs of", "0 runs are finished", "The same in all variants",
    ):  # fmt: skip
        assert part in outcome.stderr.replace("\n", " ")
    assert not (tmp_path / "study.json").exists()


def test_a_finished_study_is_shown_again_without_training(tmp_path, run_here):
    finish(tmp_path, with_choices("norm", "position"), effects={"position": -0.1})
    flags = [f"--workdir={tmp_path}", "--from=gpt1_nano", "--to=llama_nano"]
    flags += ["--choices", "norm", "position", "--designs", "from_start", "from_end", "path"]
    flags += ["--vocab-size=512", "--seq-len=64", "--batch-tokens=512", "--num-tokens=51200"]
    outcome = run_here(ablate.main, *flags)
    assert outcome.code == 0, outcome.stderr
    for part in ("The noise floor", "One choice of the end at the start", "start with position"):
        assert part in outcome.stdout


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "--from and --to are missing; write for example --from=gpt1_small"),
        (["--study=nope"], "--study=nope is not in the zoo; write one of gpt1_to_llama"),
        (["--study=gpt1_to_llama", "--choices", "x"], "--choices: 'x' is no choice"),
        (["--study=gpt1_to_llama", "--jobs=-1"], "--jobs=-1 must not be negative"),
        (["--study=gpt1_to_llama", "--num-tokens=1"], "less than one step of batch_tokens=1,024"),
        (["--study=gpt1_to_llama", "--files=a", "--task=b"], "are both the text"),
    ],
)
def test_a_mistake_is_one_message(flags, message, tmp_path, run_here):
    outcome = run_here(ablate.main, *flags, f"--workdir={tmp_path / 'study'}")
    assert outcome.code == 2
    assert outcome.stderr.count("error") == 1
    assert message in outcome.stderr.replace("\n", " ")
    assert not (tmp_path / "study").exists()
