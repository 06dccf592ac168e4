"""Checkpoints as commit 98d5c7f wrote them, rebuilt from a description.

`old_checkpoints.json` describes two checkpoints that the old code really wrote, after three steps
of training on the text of `write_corpus`: the flags, the config, the names, shapes and dtypes of
all arrays, and the tokenizer. `build` writes such a checkpoint, with the values of a formula in its
arrays. The expected samples, scores and losses are those that the old code computed from the folder
of `build`. This file imports nothing from the project, so that the old code can run it too.
"""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import orbax.checkpoint as ocp

_RECORDED = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))

CHECKPOINTS: dict[str, dict[str, Any]] = _RECORDED["checkpoints"]
CONFIGS: dict[str, dict[str, Any]] = _RECORDED["configs"]
"""Configs by name, as the old code wrote them to JSON."""

STEP = 3
"""The number of steps that the old runs had taken."""

_WORDS = [
    "a",
    "model",
    "reads",
    "tokens",
    "and",
    "learns",
    "which",
    "of",
    "them",
    "comes",
    "next",
    ";",
    "def",
    "loss",
    "(",
    "x",
    ")",
    ":",
    "return",
    "x",
]


def write_corpus(folder: Path) -> None:
    """Write the text that the old runs read as `corpus/*.txt` and `notes/*.txt` in `folder`."""
    for name, word in {"corpus": "loss", "notes": "gain"}.items():
        (folder / name).mkdir(parents=True)
        for number in range(6):
            (folder / name / f"{number}.txt").write_text(_document(number).replace("loss", word))


def _document(number: int) -> str:
    lines = []
    for line in range(40):
        chosen = [_WORDS[(number * 7 + line * 3 + i * i) % len(_WORDS)] for i in range(9)]
        lines.append(" ".join(chosen) + f" {number * line % 97}\n")
    return "".join(lines)


def build(name: str, workdir: Path) -> Path:
    """Write the recorded checkpoint `name` into `workdir` and return the folder of its step."""
    recorded = CHECKPOINTS[name]
    folder = (workdir / "checkpoints" / str(STEP)).absolute()
    handler = ocp.CompositeCheckpointHandler(
        params=ocp.StandardCheckpointHandler(),
        training=ocp.StandardCheckpointHandler(),
        run=ocp.JsonCheckpointHandler(),
    )
    with ocp.Checkpointer(handler) as checkpointer:
        checkpointer.save(
            folder,
            ocp.args.Composite(
                params=ocp.args.StandardSave(_tree(recorded["arrays"]["params"])),
                training=ocp.args.StandardSave(_tree(recorded["arrays"]["training"])),
                run=ocp.args.JsonSave(recorded["run"]),
            ),
        )
    (folder / "tokenizer").mkdir()
    for file, content in recorded["tokenizer"].items():
        (folder / "tokenizer" / file).write_bytes(base64.b64decode(content))
    (folder / "_CHECKPOINT_METADATA").write_text(json.dumps(recorded["checkpoint_metadata"]))
    return folder


def paths_on_disk(folder: Path, item: str) -> set[tuple[str | int, ...]]:
    """Return the path of every leaf of `item`, with integers where the tree has a sequence."""
    metadata = json.loads((folder / item / "_METADATA").read_text())["tree_metadata"]
    return {
        tuple(int(k["key"]) if k["key_type"] == 1 else k["key"] for k in leaf["key_metadata"])
        for leaf in metadata.values()
    }


def _tree(leaves: list[dict[str, Any]]) -> Any:
    """Return nested dicts and lists with an array, or None, at every path."""
    root: dict[str | int, Any] = {}
    for number, leaf in enumerate(leaves):
        node = root
        for key in leaf["path"][:-1]:
            node = node.setdefault(key, {})
        node[leaf["path"][-1]] = _array(number, leaf) if "shape" in leaf else None
    return _with_lists(root)


def _with_lists(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    values = {key: _with_lists(value) for key, value in node.items()}
    return list(values.values()) if 0 in values else values


def _array(number: int, leaf: dict[str, Any]) -> np.ndarray:
    """Return values that fit the role of the array.

    Counts are the number of steps, moments of the optimizer are positive, scales of norms are
    around 1 and other parameters around 0.
    """
    if leaf["dtype"] == "int32":
        return np.full(leaf["shape"], STEP, np.int32)
    indices = np.arange(np.prod(leaf["shape"], dtype=int))
    waves = np.sin(1 + number + 0.7 * indices**2)
    if leaf["path"][0] == "opt":
        values = 1e-3 * (1.1 + waves)
    elif "scale" in leaf["path"]:
        values = 1 + 0.1 * waves
    else:
        values = 0.5 * waves
    return values.reshape(leaf["shape"]).astype(leaf["dtype"])
