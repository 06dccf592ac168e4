"""Run a notebook, its installation included, in an environment like Colab's: a person runs this.

    python tests/colab/try_install.py tpu --python=python3.13

The environment gets the versions of `runtime_tpu.txt` or `runtime_gpu.txt`, but for PyTorch. This
needs the network, 3 to 8 GB of disk and 5 to 10 minutes. No device is needed: the notebook is told
that the image is one for TPUs, or that `nvidia-smi` knows a driver, and then runs on the CPU.
"""

import argparse
import os
import subprocess
import tempfile
from pathlib import Path

import nbformat
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient

HERE = Path(__file__).parent
COLAB = HERE.parents[1] / "colab"
SETTINGS = {"DEVICE": "any", "MODEL": "palm_nano", "NUM_STEPS": 4}


def environment(folder: Path, runtime: str, python: str) -> Path:
    """Make the environment; return its Python."""
    subprocess.run([python, "-m", "venv", str(folder)], check=True)
    ours = folder / "bin/python"
    lines = (HERE / f"runtime_{runtime}.txt").read_text().splitlines()
    versions = [line for line in lines if not line.startswith(("#", "torch=="))]
    pip = [str(ours), "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", *versions], check=True)
    # The image's own set is not consistent, so only what a kernel needs is resolved.
    kernel = [line for line in versions if line.startswith(("ipykernel", "ipython="))]
    subprocess.run([*pip, *kernel], check=True)
    return ours


def pretend(folder: Path, runtime: str, driver: int) -> dict[str, str]:
    """Return the variables with which the machine looks like the runtime."""
    ours = {"JAX_PLATFORMS": "cpu", "XDG_CACHE_HOME": str(folder / "cache")}
    if runtime == "tpu":
        return os.environ | ours | {"COLAB_RELEASE_TAG": "pretended"}
    smi = folder / "bin/nvidia-smi"
    smi.write_text(f"#!/bin/sh\necho {driver}.82.07\n")
    smi.chmod(0o755)
    return os.environ | ours | {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}


def main() -> None:
    """Print what the notebook's cells print."""
    description = "Run a notebook, its installation included, in an environment like Colab's."
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("runtime", choices=["tpu", "gpu"])
    parser.add_argument("--python", default="python3.13")
    parser.add_argument("--driver", type=int, default=580, help="NVIDIA's, for gpu")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "env"
        python = environment(folder, arguments.runtime, arguments.python)
        notebook = nbformat.read(COLAB / "train_and_sample.ipynb", as_version=4)
        (cell,) = (c for c in notebook.cells if "parameters" in c.metadata.get("tags", []))
        settings = SETTINGS | {"RUNS": str(Path(temporary) / "runs")}
        cell.source += "".join(f"\n{name} = {value!r}" for name, value in settings.items())
        manager = KernelManager()
        assert manager.kernel_spec is not None
        manager.kernel_spec.argv[0] = str(python)
        client = NotebookClient(
            notebook, km=manager, timeout=900, resources={"metadata": {"path": str(COLAB)}}
        )
        try:
            client.execute(env=pretend(folder, arguments.runtime, arguments.driver))
        finally:
            for cell in notebook.cells:
                for output in cell.get("outputs", []):
                    print(output.get("text", ""), end="")
        subprocess.run([str(python), "-m", "pip", "list"], check=True)


if __name__ == "__main__":
    main()
