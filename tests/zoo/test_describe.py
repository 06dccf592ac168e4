"""`python -m zoo.describe`: the zoo as a table, one model with its sources, JSON."""

import io
import json

import pytest
from rich.console import Console

import configs
from zoo import describe
from zoo.explaining.size_table import GPT4


def rows(text: str) -> dict[str, str]:
    """Return the table's lines by model."""
    return {
        line.split()[0]: line for line in text.splitlines() if line.split(" ")[0] in configs.MODELS
    }


def test_a_pipe_gets_every_model_and_every_column_in_plain_text(run_here):
    outcome = run_here(describe.main)
    assert outcome.code == 0
    assert outcome.stderr == ""
    assert list(rows(outcome.stdout)) == list(configs.MODELS)
    assert "\x1b" not in outcome.stdout
    assert "left out" not in outcome.stdout
    assert GPT4 in " ".join(outcome.stdout.split())
    assert rows(outcome.stdout)["palm_540b"].split() == [
        "palm_540b",
        "118",
        "18,432",
        "48",
        "(1)",
        "x",
        "256",
        "73,728",
        "2,048",
        "256,000",
        "540,356,474,880",
        "540.35B",
        "3.28e12",
        "120,832",
        "1.44",
    ]


def test_a_family_is_shown_with_all_its_sizes(run_here):
    asked = run_here(describe.main, "--family=chinchilla").stdout
    assert list(rows(asked)) == list(configs.FAMILIES["chinchilla"].FAMILY)
    assert GPT4 not in asked


@pytest.mark.parametrize(
    ("flags", "folds"),
    [((), True), (("--sizes=all",), False), (("--family=chinchilla",), False)],
    ids=str,
)
def test_a_terminal_gets_the_main_sizes_unless_asked_for_all(flags, folds, monkeypatch):
    terminal = Console(file=io.StringIO(), width=120, force_terminal=True)
    folded = []
    monkeypatch.setattr(describe, "stdout_console", lambda: terminal)
    monkeypatch.setattr(describe, "show_zoo", lambda zoo, console, *, fold: folded.append(fold))
    describe.main(list(flags))
    assert folded == [folds]


def test_one_model_with_its_sources_its_mismatch_and_what_is_not_published(run_here):
    outcome = run_here(describe.main, "--model=gpt3_13b")
    said, paper = " ".join(outcome.stdout.split()), configs.FAMILIES["gpt3"].PAPER
    assert outcome.code == 0
    for notes in (paper.sources, paper.not_published, paper.reasons):
        assert all(
            f"{path} " in said and " ".join(note.split()) in said for path, note in notes.items()
        )
    assert paper.mismatches["gpt3_13b"] in said
    assert f"{paper.mixture_source}; --data.mixture=paper source % epochs public stand-in" in said
    assert "Books1 8 1.9 pg19 Books2 8 0.43 none Wikipedia 3 3.4 wikipedia_en" in said
    assert "12,853,386,240 = 257,315,840 token embedding + " in said
    assert "model.d_model 5,120 Table 2.1" in said
    assert "(a banded layer keeps its band only)" in said
    assert "in the published sizes" not in said
    assert max(map(len, outcome.stdout.splitlines())) <= 120


def test_relative_positions_keep_their_distances_beside_the_cache(run_here):
    kept = "once for all rows of a batch, the projected distances"
    assert kept in " ".join(run_here(describe.main, "--model=gopher_280b").stdout.split())
    assert kept not in " ".join(run_here(describe.main, "--model=palm_540b").stdout.split())


def test_a_small_model_says_which_values_are_not_the_papers(run_here):
    said = " ".join(run_here(describe.main, "--model=gpt3_small").stdout.split())
    assert "Not a size of the paper" in said
    assert "model.d_model 272 in the published sizes: Table 2.1" in said
    assert "model.layout pre_norm section 2.1" in said


def test_json_is_one_object_for_a_model_and_a_list_for_the_zoo(run_here):
    one = json.loads(run_here(describe.main, "--model=llama_7b", "--json").stdout)
    assert one["model"] == "llama_7b"
    assert one["num_params"] == 6_738_415_616
    zoo = json.loads(run_here(describe.main, "--json").stdout)
    assert [card["model"] for card in zoo] == list(configs.MODELS)
    assert one in zoo
    palm = json.loads(run_here(describe.main, "--family=palm", "--json").stdout)
    assert [card["family"] for card in palm] == ["palm"] * 5


def test_a_recipe_is_a_page_or_json(run_here):
    outcome = run_here(describe.main, "--model=palm_540b", "--recipe")
    assert outcome.code == 0
    assert outcome.stderr == ""
    assert "1,024 after 50,000 steps (52.4B tokens)" in outcome.stdout
    assert max(map(len, outcome.stdout.splitlines())) <= 120
    described = json.loads(
        run_here(describe.main, "--model=gpt3_175b", "--recipe", "--json").stdout
    )
    assert max(described["curves"]["batch_tokens"]) == 1536 * 2048


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--model=palm_8"], "model 'palm_8' is not in the zoo; did you mean palm_8b"),
        (["--family=foo"], "--family='foo' is not in the zoo; write one of gpt1, gpt2"),
        (["--model=palm_8b", "--family=palm"], "--model and --family exclude each other"),
        (["--recipe"], "--recipe shows the training run of one model; write for example --model="),
        (["--recipe", "--family=palm"], "--recipe shows the training run of one model"),
        (["--markdown", "--json"], "--markdown and --json exclude each other"),
    ],
)
def test_a_mistake_gets_one_message(flags, said, run_here):
    outcome = run_here(describe.main, *flags)
    assert outcome.code == 2
    assert outcome.stdout == ""
    assert said in outcome.stderr
    assert len(outcome.stderr.splitlines()) == 1


def test_the_command_needs_no_jax(run_process):
    process = run_process(
        "-c",
        "import sys; from zoo import describe; describe.main(['--json']); "
        "sys.exit('jax' in sys.modules)",
    )
    assert process.returncode == 0, process.stderr
