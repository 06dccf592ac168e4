"""The folder of one run: what may be in it, and whether a run may go on in it."""

import json
import shutil
from pathlib import Path

from data.errors import DataError
from models.config import ConfigError, Learned, ModelConfig
from zoo import serialize
from zoo.checkpoints import checkpoint
from zoo.folders import writing
from zoo.runs import metrics
from zoo.checkpoints.checkpoint import Run
from configs.experiment import Experiment
from zoo.errors import WorkdirError

CONFIG_FILE, SAMPLES_FOLDER = "config.json", "samples"

_WRITTEN_BY_A_RUN = (
    CONFIG_FILE,
    SAMPLES_FOLDER,
    metrics.METRICS_FILE,
    metrics.PLOT_FILE,
    metrics.EVENTS_FOLDER,
    checkpoint.FOLDER,
)

MAY_CHANGE = ("num_steps", "log_every", "eval_every", "save_every", "keep", "micro_batches", "mesh",
              "execution", "data.cache_dir", "data.source", "data.vocabulary", "data.allow_change")  # fmt: skip
"""What a resumed run may do otherwise: none of it changes which model sees which text when, though
`num_steps` moves the end of a cosine schedule. Where the text lies may change; `check_same_data` sees
that it is the same text."""


def prepare(workdir: Path) -> None:
    """Make the folder and see that it can be written. Raises WorkdirError."""
    with writing(workdir):
        workdir.mkdir(parents=True, exist_ok=True)
        probe = workdir / ".probe"
        probe.write_bytes(b"0" * 4096)
        probe.unlink()


def clear(workdir: Path) -> None:
    """Delete what an earlier run left in the folder, and nothing else. Raises WorkdirError."""
    with writing(workdir):
        for name in _WRITTEN_BY_A_RUN:
            path = workdir / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def write_config(workdir: Path, experiment: Experiment) -> None:
    """Write the resolved config for people and programs to read."""
    text = json.dumps(serialize.to_json(experiment), indent=2) + "\n"
    (workdir / CONFIG_FILE).write_text(text)


def write_sample(workdir: Path, step: int, text: str) -> None:
    """One file a step, so that they show how the model learns to write."""
    folder = workdir / SAMPLES_FOLDER
    folder.mkdir(exist_ok=True)
    (folder / f"{step:06}.txt").write_text(text + "\n", encoding="utf-8")


def check_same_experiment(saved: Experiment, asked: Experiment, workdir: Path) -> None:
    """Raise ConfigError, with all differing keys, unless `asked` may go on where `saved` stopped."""
    may_change = (*MAY_CHANGE, "data") if asked.data.allow_change else MAY_CHANGE
    changed = {
        key: values
        for key, values in serialize.differences(
            serialize.to_json(saved), serialize.to_json(asked)
        ).items()
        if not any(key == allowed or key.startswith(allowed + ".") for allowed in may_change)
    }
    if changed:
        listed = "; ".join(f"{key} was {old}, now {new}" for key, (old, new) in changed.items())
        raise ConfigError(
            f"{workdir} holds a run with another config: {listed}. Undo the change, choose another "
            "--workdir, or start over with --fresh"
        )


def check_same_architecture(saved: ModelConfig, asked: ModelConfig, init_from: str) -> None:
    """Raise ConfigError, with all differing keys, unless the parameters of `saved` make the same
    function in `asked`: dropout and the unused initialisation may differ, and a context that is not
    one of learned positions."""
    free = ["init", "dropout_rate"]
    free += [] if isinstance(saved.position, Learned) else ["context_length"]
    changed = {
        key: values
        for key, values in serialize.differences(
            serialize.to_json(saved), serialize.to_json(asked)
        ).items()
        if key.split(".")[0] not in free
    }
    if changed:
        listed = "; ".join(
            f"model.{key} is {old} there, {new} here" for key, (old, new) in changed.items()
        )
        raise ConfigError(
            f"--init-from={init_from} holds another model: {listed}. Undo the change, or leave out "
            "--model to take the checkpoint's own config"
        )


def check_same_data(
    saved: Run, fingerprint: dict, workdir: Path, *, allow_change: bool
) -> str | None:
    """Raise DataError unless a resumed run would read the text that the saved one has read.

    With `allow_change`, say what has changed instead.
    """
    old = saved.data_fingerprint
    changed = [key for key in old | fingerprint if old.get(key) != fingerprint.get(key)]
    if not changed:
        return None
    differs = ", ".join(
        f"{key} was {old.get(key)}, now {fingerprint.get(key)}" if _is_short(old, fingerprint, key)
        else key for key in changed
    )  # fmt: skip
    if allow_change:
        return (
            f"the run in {workdir} goes on with other data, as --data.allow-change says: {differs}; a "
            "streamed text begins anew"
        )
    raise DataError(
        f"what is read has changed since the run in {workdir} began ({differs} differs), so it cannot "
        "go on exactly; undo the change, choose another --workdir, start over with --fresh, or go on "
        "all the same with --data.allow-change"
    )


def _is_short(old: dict, new: dict, key: str) -> bool:
    """Whether the values mean something to a person, unlike a hash."""
    return max(len(str(old.get(key))), len(str(new.get(key)))) <= 20
