"""`python -m zoo.sample` and zoo.load on a trained palm_nano."""

import io
import json
import sys

import pytest

import zoo
from zoo import sample
from zoo.checkpoints import manifest
from zoo.checkpoints.checkpoint import Step
from zoo.common.errors import CheckpointError
from zoo.inference.decode import Sampling
from zoo.inference.language_model import LanguageModel

# The default settings of the command. With 17 tokens, a first chunk of one and one of 16, only
# little is compiled.
SAMPLING = Sampling(temperature=0.8, top_k=40, top_p=0.95)


@pytest.fixture(scope="session")
def model(trained) -> LanguageModel:
    return zoo.load(trained.workdir)


def texts(outcome) -> list[str]:
    """The texts that --json printed; assert that the command succeeded with one JSON object."""
    assert outcome.code == 0, outcome.stderr
    return [row["text"] for row in json.loads(outcome.stdout)["samples"]]


def test_readme_command_prints_prompt_and_text(trained, run_process):
    process = run_process(
        "-m",
        "zoo.sample",
        f"--checkpoint={trained.workdir}",
        "--prompt=def ",
        "--max-tokens=17",
        "--temperature=0.8",
        "--top-k=40",
        "--top-p=0.95",
        "--num-samples=4",
        "--seed=0",
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout.startswith("def ")
    assert process.stdout.count("def ") >= 4
    titles = [number for number in range(1, 9) if f" sample {number} " in process.stdout]
    assert titles == [2, 3, 4]


def test_sampling_needs_no_tensorflow(trained, run_process):
    program = (
        "import sys, zoo\n"
        "model = zoo.load(sys.argv[1])\n"
        "assert len(model.sample(['def '], max_tokens=17)) == 1\n"
        "heavy = {'tensorflow', 'seqio', 'tensorflow_datasets', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    process = run_process("-c", program, str(trained.workdir))
    assert process.returncode == 0, process.stderr


def test_workdir_means_its_newest_step_and_a_step_folder_itself(trained):
    newest, step_6, step_3 = (
        zoo.load(trained.workdir / folder).score(["a model reads"])
        for folder in ("", "checkpoints/6", "checkpoints/3")
    )
    assert newest == step_6
    assert newest != step_3
    assert zoo.load(trained.workdir, step=3).score(["a model reads"]) == step_3


def test_the_best_step_is_the_one_with_the_lowest_loss(copied, run_here):
    """The second of two steps, until their losses are exchanged."""

    def score(step: Step | None):
        return zoo.load(copied, step=step).score(["a model reads"])

    losses = [copied / "checkpoints" / step / "metrics" / "metrics" for step in ("3", "6")]
    contents = [path.read_text() for path in losses]
    assert score("best") == score(6) != score(3)
    for path, content in zip(losses, reversed(contents), strict=True):
        path.write_text(content)
        (path.parents[1] / manifest.FILE).unlink()
        manifest.write(path.parents[1])
    assert score("best") == score(3)
    outcome = run_here(sample.main, f"--checkpoint={copied}", "--step=5", "--prompt=a")
    assert outcome.code == 3
    assert "--step=5 is not among the checkpoints" in outcome.stderr


def test_prompts_come_from_flags_a_file_or_stdin(trained, tmp_path, run_here, monkeypatch):
    (tmp_path / "prompt.txt").write_text("a model", encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", io.StringIO("a model"))
    checkpoint_flag = f"--checkpoint={trained.workdir}"
    flags = ["--max-tokens=17", "--temperature=0", "--json"]
    from_flag, from_file, from_stdin = (
        texts(run_here(sample.main, checkpoint_flag, *flags, *source))
        for source in (["--prompt=a model"], [f"--prompt-file={tmp_path / 'prompt.txt'}"], [])
    )
    assert from_flag == from_file == from_stdin


def test_json_names_every_prompt_as_often_as_asked(trained, run_here):
    outcome = run_here(
        sample.main,
        f"--checkpoint={trained.workdir}",
        "--prompt",
        "def ",
        "a model reads tokens",
        "--num-samples=2",
        "--max-tokens=17",
        "--json",
    )
    assert len(texts(outcome)) == 4
    prompts = [row["prompt"] for row in json.loads(outcome.stdout)["samples"]]
    assert prompts == ["def "] * 2 + ["a model reads tokens"] * 2


def test_same_seed_same_text_and_rows_differ(model):
    twice = [model.sample(["def "] * 4, max_tokens=17, sampling=SAMPLING, seed=7) for _ in range(2)]
    assert twice[0] == twice[1]
    assert len(set(twice[0])) == 4
    assert model.sample(["def "] * 4, max_tokens=17, sampling=SAMPLING, seed=8) != twice[0]


def test_a_prompt_is_continued_alike_alone_and_beside_a_longer_one(model):
    greedy = Sampling(temperature=0)
    prompts = ["def ", "a model reads tokens and learns which of them comes next"]
    together = model.sample(prompts, max_tokens=17, sampling=greedy)
    alone = [model.sample([prompt], max_tokens=17, sampling=greedy)[0] for prompt in prompts]
    assert together == alone


def test_text_appears_while_it_is_generated(model):
    stream = model.stream(["def "], max_tokens=17, sampling=SAMPLING)
    additions = [next(stream)[0]]  # one token, while the stream still has more to come
    additions += [addition for (addition,) in stream]
    assert len([addition for addition in additions if addition]) > 1
    assert ["".join(additions)] == model.sample(["def "], max_tokens=17, sampling=SAMPLING)


def test_the_command_shows_the_first_row_while_it_is_generated(trained, run_here, monkeypatch):
    """Each part of the text is flushed before the next is generated."""
    shown: list[str] = []
    monkeypatch.setattr(sample, "_show", shown.append)
    outcome = run_here(
        sample.main, f"--checkpoint={trained.workdir}", "--prompt=def ", "--max-tokens=17"
    )
    assert outcome.code == 0
    assert shown[0] == "def "
    assert len([text for text in shown[1:] if text.strip()]) > 1


def test_score_prefers_the_kind_of_text_it_was_trained_on(model):
    likely, unlikely = model.score(["a model reads tokens", "ZYX#?%QQ!!{}~~"])
    assert likely.bits_per_byte < unlikely.bits_per_byte


def test_logits_are_those_that_score_uses(model):
    ids = [model.vocabulary.bos_id, *model.vocabulary.encode("a model")]
    assert model.logits([ids]).shape == (1, len(ids), model.experiment.model.vocab_size)


def test_a_program_gets_checkpoint_errors_as_exceptions(tmp_path):
    with pytest.raises(CheckpointError, match="no such folder"):
        zoo.load(tmp_path / "nowhere")


def test_a_prompt_that_is_not_utf8_is_one_message(tmp_path, monkeypatch, run_here):
    (tmp_path / "prompt.txt").write_bytes(b"a\xff")
    monkeypatch.setattr(sys, "stdin", io.StringIO("a\udcff"))
    for source in (["--prompt=a\udcff"], [f"--prompt-file={tmp_path / 'prompt.txt'}"], []):
        outcome = run_here(sample.main, "--checkpoint=nowhere", *source)
        assert outcome.code == 2
        assert "cannot be read as UTF-8 text" in outcome.stderr


def test_more_samples_than_can_be_drawn_at_once_are_refused(run_here):
    outcome = run_here(sample.main, "--checkpoint=nowhere", f"--num-samples={10**20}")
    assert outcome.code == 2
    assert "must be above zero and at most 10,000" in outcome.stderr


def test_a_mesh_is_chosen_for_the_devices_there(trained, model):
    lines: list[str] = []
    loaded = zoo.load(trained.workdir, mesh="auto", report=lines.append)
    greedy = Sampling(temperature=0)
    expected = model.sample(["def "], max_tokens=17, sampling=greedy)
    assert loaded.sample(["def "], max_tokens=17, sampling=greedy) == expected
    (line,) = lines
    assert line.startswith("mesh: --mesh.data=1: decoding needs about")
