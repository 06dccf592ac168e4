"""The notebooks run from top to bottom, here on the CPU with palm_nano, and lie there clean."""

import base64
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

COLAB = Path(__file__).parents[2] / "colab"
NOTEBOOKS = sorted(COLAB.glob("*.ipynb"))


def read(path: Path) -> NotebookNode:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs_of(notebook: NotebookNode, part_of_source: str) -> list[NotebookNode]:
    (cell,) = (cell for cell in code_cells(notebook) if part_of_source in cell.source)
    return cell.outputs


def printed(outputs: list[NotebookNode]) -> str:
    return "".join(output.text for output in outputs if output.output_type == "stream")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebook_is_clean_and_asks_for_a_tpu(path):
    notebook = read(path)
    for cell in code_cells(notebook):
        assert cell.outputs == []
        assert cell.execution_count is None
    assert notebook.metadata.accelerator == "TPU"
    assert notebook.metadata.kernelspec.name == "python3"


def test_train_and_sample_runs(corpus_glob, tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    notebook = read(COLAB / "train_and_sample.ipynb")
    (parameters,) = (
        cell for cell in code_cells(notebook) if "parameters" in cell.metadata.get("tags", [])
    )
    flags = f"--data.files='{corpus_glob}' --model.vocab-size=400 --num-steps=4 --eval-every=2"
    parameters.source += (
        f'\nMODEL, WORKDIR = "palm_nano", {str(tmp_path / "run")!r}\nEXTRA_FLAGS = {flags!r}\n'
    )
    NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(COLAB)}}, kernel_name="python3"
    ).execute()

    assert "everything is here already" in printed(outputs_of(notebook, "pip install"))
    assert "CpuDevice" in printed(outputs_of(notebook, "jax.devices()"))
    assert "step 4/4" in printed(outputs_of(notebook, "zoo.train"))
    (plot,) = (
        output.data["image/png"]
        for output in outputs_of(notebook, "plt.plot")
        if "image/png" in output.get("data", {})
    )
    assert base64.b64decode(plot).startswith(b"\x89PNG")
    assert printed(outputs_of(notebook, "zoo.load")).count("def ") >= 3
