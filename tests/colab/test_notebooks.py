"""The notebooks run from top to bottom, here on the CPU in tiny sizes, and lie there clean."""

import ast
import base64
import sys
from collections.abc import Callable
from pathlib import Path

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

from colab import install
from configs.experiment import Experiment
from configs.studies.study import AblationStudy
from data.config import Files, Task
from tests.zoo import hf_folders
from tests.zoo.ablation.synthetic import Killed, Trainer
from tests.zoo.scaling_laws.synthetic import TRUE
from zoo.ablation.study import Study as AblationRuns
from zoo.ablation.workers import train_all
from zoo.scaling_laws.sizes import num_params
from zoo.scaling_laws.study import Settings, Study, Trained

COLAB = Path(__file__).parents[2] / "colab"
NOTEBOOKS = sorted(COLAB.glob("*.ipynb"))
PARAMETERS = "parameters"
"""The tag of the cell with the settings, to which a test adds its own."""


def read(path: Path) -> NotebookNode:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def the_cell(notebook: NotebookNode, part_of_source: str) -> NotebookNode:
    (cell,) = (cell for cell in code_cells(notebook) if part_of_source in cell.source)
    return cell


def printed(notebook: NotebookNode, part_of_source: str) -> str:
    outputs = the_cell(notebook, part_of_source).outputs
    return "".join(output.text for output in outputs if output.output_type == "stream")


def shown(notebook: NotebookNode, part_of_source: str, kind: str) -> list[str]:
    outputs = the_cell(notebook, part_of_source).outputs
    return [output.data[kind] for output in outputs if kind in output.get("data", {})]


def is_png(encoded: str) -> bool:
    return base64.b64decode(encoded).startswith(b"\x89PNG")


@pytest.fixture
def execute(tmp_path, monkeypatch) -> Callable[..., NotebookNode]:
    """Runs a notebook on the CPU with other settings; its runs are in `tmp_path / "runs"`."""
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setenv(
        "XLA_FLAGS", "--xla_backend_optimization_level=0"
    )  # compiles in 2/3 the time
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # the packages of this environment stay as they are
    strays = install.strays(install.versions(), "cpu")
    if strays:
        pytest.skip(f"{' and '.join(strays)} would be removed where there is no GPU")

    def run(name: str, **settings: str | int) -> NotebookNode:
        notebook = read(COLAB / f"{name}.ipynb")
        (cell,) = (c for c in code_cells(notebook) if PARAMETERS in c.metadata.get("tags", []))
        settings = {"DEVICE": "cpu", "RUNS": str(tmp_path / "runs")} | settings
        assert [key for key in settings if f"{key} = " not in cell.source] == []
        cell.source += "".join(f"\n{key} = {value!r}" for key, value in settings.items())
        where = {"metadata": {"path": str(COLAB)}}
        NotebookClient(notebook, timeout=300, resources=where, kernel_name="python3").execute()
        return notebook

    return run


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebook_is_clean_and_says_what_it_needs(path):
    notebook = read(path)
    for cell in code_cells(notebook):
        assert cell.outputs == []
        assert cell.execution_count is None
    assert notebook.metadata.kernelspec.name == "python3"
    for promise in ("**Needs:**", "**Takes:**"):
        assert promise in notebook.cells[0].source


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebook_is_the_same_as_its_script(path):
    """`jupytext --sync colab/*.ipynb` makes the older of the two from the newer."""

    def cells(notebook: NotebookNode) -> list[tuple]:
        return [(cell.cell_type, cell.source, dict(cell.metadata)) for cell in notebook.cells]

    script, notebook = jupytext.read(path.with_suffix(".py")), read(path)
    assert cells(script) == cells(notebook)
    for key in ("accelerator", "colab", "kernelspec"):
        assert script.metadata[key] == notebook.metadata[key]


def test_every_notebook_installs_in_the_same_way():
    cells = [the_cell(read(path), "install(DEVICE)").source for path in NOTEBOOKS]
    assert len({cell.partition("\n\nimport jax")[0] for cell in cells}) == 1


def test_train_and_sample(execute, tmp_path):
    notebook = execute("train_and_sample", MODEL="palm_nano", NUM_STEPS=4)
    assert "everything is here already" in printed(notebook, "install(DEVICE)")
    log = printed(notebook, "train(experiment")
    assert "step 4/4" in log
    assert len(log.splitlines()) < 40
    assert "\x1b" not in log
    (outcome,) = shown(notebook, "display(result)", "text/html")
    assert "byte 5-gram" in outcome
    assert is_png(outcome.partition("base64,")[2].partition('"')[0])
    assert printed(notebook, "model.sample").count("def ") >= 3
    assert "bits per byte: import os" in printed(notebook, "model.score")
    assert (tmp_path / "runs/palm_nano/report.html").exists()


def test_another_device_than_the_settings_ask_for_is_an_error_before_anything_else(execute):
    with pytest.raises(CellExecutionError, match='has a cpu and no tpu.*or write DEVICE = "cpu"'):
        execute("train_and_sample", DEVICE="tpu")


def test_hugging_face(execute, tmp_path):
    folder = hf_folders.make(tmp_path / "gpt2", hf_folders.CONFIGS["gpt2"])
    notebook = execute("hugging_face", HF_FOLDER=str(folder), NUM_STEPS=2, PROMPT="def loss")
    assert "logits differ from transformers' by" in printed(notebook, "--from-hf")
    assert "def loss" in printed(notebook, "zoo.load(IMPORTED)")
    assert "step 2/2" in printed(notebook, "train(experiment")
    assert shown(notebook, "display(result)", "text/html")
    assert "def loss" in printed(notebook, "zoo.load(result.workdir)")
    assert "model.safetensors" in printed(notebook, "--to-hf")


def test_the_zoo_explained(execute):
    notebook = execute("the_zoo_explained", MODEL="palm_nano", NUM_STEPS=2)
    (card,) = shown(notebook, "model_card(", "text/html")
    assert "540,356,474,880" in card
    assert "<svg" in card
    assert "gpt2_1558m and llama_7b" in printed(notebook, "zoo.diff")
    drawings = shown(notebook, "block_picture(", "image/svg+xml")
    assert ["Output matrix" in drawing for drawing in drawings] == [True] * 3
    (curves,) = shown(notebook, "zoo.compare", "image/png")
    assert is_png(curves)
    for cell in ("attention_weights(zoo.load", ".head(0, 0)"):
        assert is_png(*shown(notebook, cell, "image/png"))
    assert {"learned", "rotary", "relative"} <= set(printed(notebook, "mean_distance").split())


def test_parallelism(execute):
    notebook = execute("parallelism", EFFORT="estimate", NUM_STEPS=2)
    assert printed(notebook, "fake_devices=8").split() == [f"cpu:{i}" for i in range(8)]
    assert "P('tensor', 'fsdp')" in printed(notebook, "make_mesh")
    for cell in ("visualize_array_sharding", "visualize_sharding"):
        (drawing,) = shown(notebook, f"jax.debug.{cell}(", "text/html")
        assert "CPU" in drawing
    assert "step 2/2" in printed(notebook, "display(result)")
    lines = printed(notebook, "log_probability").splitlines()
    scores = [ast.literal_eval(line.partition("]")[0] + "]") for line in lines if line[0] == "["]
    assert len(scores) == 3
    assert scores[1] == pytest.approx(scores[0], abs=2e-3)
    assert scores[2] == pytest.approx(scores[0], abs=2e-3)
    assert "6,144 x TPU v4" in printed(notebook, "palm_540b")
    assert "mesh: " in printed(notebook, "llama_7b")


def test_scaling_law(execute, tmp_path):
    """A session was reset during the last of ten runs: the study goes on with that one."""
    settings = Settings("llama", (2e10, 4e10), num_sizes=5, text=Task().setting)
    study = Study.open(settings, Task(), tmp_path / "runs/scaling")

    def train(run: Experiment, workdir: Path) -> Trained:
        if len(study.runs) == 9:
            raise KeyboardInterrupt
        return Trained(float(TRUE.loss(num_params(run.model), run.num_tokens)), 0.1, 1e5)

    with pytest.raises(KeyboardInterrupt):
        study.train(train, print)
    notebook = execute("scaling_law", BUDGETS="2e10,4e10", NUM_SIZES=5, RESAMPLES=2)
    log = printed(notebook, '"run"')
    assert log.count("study: run ") == 1
    assert "run 10 of 10" in log
    assert "The law L(N, D) = E + A / N^alpha + B / D^beta" in log
    assert is_png(*shown(notebook, '"fit"', "image/png"))
    assert "Chinchilla, approach 3" in printed(notebook, "scaling plan")


def test_ablation(execute, tmp_path, corpus_glob):
    """A session was reset during the last of twelve runs: the study goes on with that one."""
    settings = AblationStudy(
        start="gpt1_nano",
        end="llama_nano",
        choices=("norm",),
        designs=("from_end",),
        seeds=2,
        d_model=48,
        vocab_size=400,
        seq_len=64,
        num_tokens=2048,
        source=Files(corpus_glob),
    )
    study = AblationRuns.open(settings, tmp_path / "runs/ablation")
    with pytest.raises(Killed):
        train_all(study, [Trainer(study, dies_at=11)], lambda run: None)
    notebook = execute(
        "ablation",
        START="gpt1_nano",
        END="llama_nano",
        CHOICES="norm",
        D_MODEL=48,
        NUM_TOKENS=2048,
        VOCAB_SIZE=400,
        SEQ_LEN=64,
        TEXT=corpus_glob,
    )
    log = printed(notebook, "ablate.main")
    assert "11 runs are finished" in log
    # The sweep goes on if its best peak is at an edge, which the processor's digits decide.
    num_left = len(AblationRuns.open(settings, tmp_path / "runs/ablation").runs) - 11
    assert log.count(" bits per byte at a peak of ") == num_left >= 1
    assert "norm" in shown(notebook, "SVG(", "image/svg+xml")[0]
    (report,) = shown(notebook, "Markdown(", "text/markdown")
    assert "One choice of the end, taken back from it" in report
    assert f"]({tmp_path / 'runs'}/ablation/from_end.svg)" in report
