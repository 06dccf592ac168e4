"""Checks that a run may start from a checkpoint: its experiment, its model and its data."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from configs.experiment import Experiment
from data.errors import DataError
from models.config import ConfigError, ModelConfig
from zoo.checkpoints.checkpoint import Run
from zoo.common.serialize import differences, to_json


def check_same_experiment(saved: Experiment, asked: Experiment, workdir: Path) -> None:
    """Raise ConfigError, with all differing keys, unless `asked` may resume what `saved` began."""
    may_change = set(_may_change(asked))
    if asked.data.allow_change:
        may_change.add("data")
    changes = {
        key: values
        for key, values in differences(to_json(saved), to_json(asked)).items()
        if not any(key == allowed or key.startswith(allowed + ".") for allowed in may_change)
    }
    if changes:
        listed = "; ".join(f"{key} was {old}, now {new}" for key, (old, new) in changes.items())
        raise ConfigError(
            f"{workdir} holds a run with another config: {listed}; undo the change, choose another "
            "--workdir, or start over with --fresh"
        )


def _may_change(config: Any, prefix: str = "") -> Iterator[str]:
    """Yield the dotted names of the fields whose metadata lets a resumed run change them."""
    for field in dataclasses.fields(config):
        name, value = f"{prefix}{field.name}", getattr(config, field.name)
        if field.metadata.get("on_resume") == "may_change":
            yield name
        elif dataclasses.is_dataclass(value):
            yield from _may_change(value, f"{name}.")


def check_same_architecture(saved: ModelConfig, asked: ModelConfig, init_from: str) -> None:
    """Raise ConfigError, with all differing keys, unless both models compute the same function.

    Dropout and initialisation may differ; so may the context length, unless positions are learned.
    """
    may_differ = ["init", "dropout_rate", "embedding_dropout"]
    may_differ += ["context_length"] if saved.max_length is None else []
    changes = {
        key: values
        for key, values in differences(to_json(saved), to_json(asked)).items()
        if key.split(".")[0] not in may_differ
    }
    if changes:
        listed = "; ".join(
            f"model.{key} is {old} in the checkpoint, {new} here"
            for key, (old, new) in changes.items()
        )
        raise ConfigError(
            f"--init-from={init_from} holds another model: {listed}; undo the change, or leave out "
            "--model to take the checkpoint's own config"
        )


def check_same_data(
    saved: Run, fingerprint: dict, workdir: Path, *, allow_change: bool
) -> str | None:
    """Raise DataError unless a resumed run would read the text that the saved one has read.

    With `allow_change`, return a line about the change instead; None if there is none.
    """
    old = saved.data_fingerprint
    changed = [key for key in old | fingerprint if old.get(key) != fingerprint.get(key)]
    if not changed:
        return None
    listed = ", ".join(
        f"{key} was {old.get(key)}, now {fingerprint.get(key)}"
        if _is_readable(old, fingerprint, key)
        else key
        for key in changed
    )
    if allow_change:
        return (
            f"the run in {workdir} resumes with other data, as --data.allow-change says: {listed}; "
            "a streamed text starts over"
        )
    raise DataError(
        f"the data has changed since the run in {workdir} began ({listed} differs), so it cannot "
        "resume exactly; undo the change, choose another --workdir, start over with --fresh, or "
        "resume all the same with --data.allow-change"
    )


def _is_readable(old: dict, new: dict, key: str) -> bool:
    """Return whether a person can read the values, unlike a hash."""
    return max(len(str(old.get(key))), len(str(new.get(key)))) <= 20
