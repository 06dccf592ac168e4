import json

import pytest

from tests.zoo.reporting.pages import parse
from tests.zoo.reporting.runs import change_config, make_run
from zoo import compare

LR = "optimizer.schedule.peak_lr"


@pytest.fixture
def runs(tmp_path) -> list[str]:
    return [
        str(make_run(tmp_path / "a", "palm_nano")),
        str(make_run(tmp_path / "b", "llama_nano", num_steps=6)),
    ]


def test_tables_and_a_page_by_default(runs, run_here, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = run_here(compare.main, *runs)
    assert outcome.code == 0
    assert "wrote compare.html" in outcome.stderr
    lines = [line.split() for line in outcome.stdout.splitlines()]
    assert ["model.layout", "parallel", "pre_norm"] in lines
    assert ["model.norm.type", "LayerNorm", "RMSNorm"] in lines
    assert ["bits", "per", "byte", "1.5000", "1.0000"] in lines
    page = parse((tmp_path / "compare.html").read_text())
    for text in ("palm_nano against llama_nano", "1.0000 at 6", "6 of 20", "inverse_sqrt_d_model"):
        assert text in page.text
    assert page.tags.count("figure") == 2
    assert page.text.count("llama_nano") >= 6  # two legends among them


@pytest.mark.parametrize(
    ("name", "magic", "over"),
    [
        ("x.png", b"\x89PNG", "tokens"),
        ("x.svg", b"<?xml", "steps"),
        ("x.pdf", b"%PDF", "flops"),
    ],
)
def test_a_picture(runs, run_here, tmp_path, name, magic, over):
    out = tmp_path / name
    assert run_here(compare.main, *runs, f"--out={out}", f"--over={over}").code == 0
    assert out.read_bytes().startswith(magic)
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b", name}


def test_json(runs, run_here, tmp_path):
    outcome = run_here(compare.main, *runs, "--json", f"--out={tmp_path}/c.html")
    said = json.loads(outcome.stdout)
    assert [run["label"] for run in said["runs"]] == ["palm_nano", "llama_nano"]
    assert said["runs"][1]["best_step"] == said["runs"][1]["step"] == 6
    assert said["runs"][0]["tokens"] == 2048
    assert said["differences"]["z_loss"] == [1e-4, 0.0]
    assert said["notes"] == []


def test_one_line_of_metrics_and_none_are_enough(tmp_path, run_here):
    runs = [make_run(tmp_path / "one", num_steps=1), make_run(tmp_path / "none", num_steps=0)]
    outcome = run_here(compare.main, *map(str, runs), f"--out={tmp_path}/c.html")
    assert outcome.code == 0
    parse((tmp_path / "c.html").read_text())


def test_a_config_of_an_unknown_version_is_compared_all_the_same(runs, run_here, tmp_path):
    change_config(tmp_path / "a", "model", {"type": "Later", "num_layers": 3})
    outcome = run_here(compare.main, *runs, f"--out={tmp_path}/c.html", "--over=flops")
    assert outcome.code == 0
    assert ["model.num_layers", "3", "2"] in [x.split() for x in outcome.stdout.splitlines()]


@pytest.mark.parametrize(
    ("prepare", "flags", "message"),
    [
        (lambda folder: None, ["{}/no"], "is not a folder; name the --workdir of a run"),
        (lambda folder: (folder / "no").mkdir(), ["{}/no"], "holds no run: it has no config.json"),
        (lambda folder: (folder / "config.json").write_text("{"), ["{}"], "cannot be read"),
        (lambda folder: (folder / "config.json").write_text("[]"), ["{}"], "not the config of"),
        (lambda folder: None, [], "no run is named"),
        (lambda folder: None, ["a", "--out=x.gif"], "must end in .html, .png, .svg or .pdf"),
    ],
)
def test_a_mistake_is_one_message_and_writes_nothing(
    tmp_path, run_here, prepare, flags, message, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    prepare(tmp_path)
    outcome = run_here(compare.main, *(flag.format(tmp_path) for flag in flags))
    assert outcome.code == 2
    assert outcome.stdout == ""
    assert message in outcome.stderr
    assert not (tmp_path / "compare.html").exists()


def test_a_file_that_cannot_be_written_is_named(runs, run_here, tmp_path):
    outcome = run_here(compare.main, *runs, f"--out={tmp_path}/no/c.html")
    assert outcome.code == 2
    assert "c.html cannot be written: No such file or directory" in outcome.stderr
