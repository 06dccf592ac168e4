"""Verify checkpoints, find the newest intact one, and clear away what a crash or a fault left."""

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from zoo.checkpoints import manifest
from zoo.checkpoints.checkpoint import FOLDER, saved_steps
from zoo.checkpoints.manifest import Damage
from zoo.common.errors import CheckpointError

_SMALL_BYTES = 1 << 20
"""The largest file that is hashed in a checkpoint that is older than the newest intact one."""
_UNFINISHED = re.compile(r"\d+\.orbax-checkpoint-tmp")


@dataclass(frozen=True)
class Survey:
    """The state of a workdir's checkpoints. JSON values only: one process surveys for all."""

    newest: str | None
    """The newest intact checkpoint. None: there is none."""
    damaged: dict[str, str]
    """The damage of each of the others, by the name of its folder."""
    half_deleted: dict[str, str]
    """The damage of older ones that lack a file: their deletion was interrupted."""


def verify(folder: Path) -> None:
    """Raise CheckpointError, which names the damage and what to do, unless `folder` is intact.

    Every byte of it is read.
    """
    damages = manifest.damages(folder)
    if not damages:
        return
    good = _newest_intact_but(folder) if folder.parent.name == FOLDER else None
    raise CheckpointError(
        f"the checkpoint {folder} is damaged: {_listed(damages)}; restore it from a copy, or "
        + ("train it again with --fresh" if good is None else f"use the newest intact one, {good}")
    )


def _newest_intact_but(damaged: Path) -> Path | None:
    """Return the newest intact checkpoint of the workdir that holds the damaged one."""
    steps = saved_steps(damaged.parents[1])
    others = [path for step in steps if (path := damaged.with_name(str(step))) != damaged]
    return next((path for path in reversed(others) if not manifest.damages(path)), None)


def survey(workdir: Path) -> Survey:
    """Verify the checkpoints of a run, all bytes of each down to the newest intact one.

    Of older ones, large files are only measured. Raises CheckpointError if there are checkpoints
    and none is intact.
    """
    newest, damaged, half_deleted = None, {}, {}
    for step in reversed(saved_steps(workdir)):
        hash_up_to = None if newest is None else _SMALL_BYTES
        damages = manifest.damages(_of_step(workdir, step), hash_up_to=hash_up_to)
        if not damages:
            newest = newest or str(step)
        elif newest is not None and any(damage.found is None for damage in damages):
            half_deleted[str(step)] = _listed(damages)
        else:
            damaged[str(step)] = _listed(damages)
    if damaged and newest is None:
        listed = "; ".join(f"step {step}: {damage}" for step, damage in damaged.items())
        raise CheckpointError(
            f"no checkpoint in {workdir / FOLDER} is intact: {listed}; restore one from a copy, or "
            "start over with --fresh"
        )
    return Survey(newest, damaged, half_deleted)


def clear_away(workdir: Path, found: Survey) -> None:
    """Rename damaged checkpoints to STEP.damaged; delete unfinished and half-deleted ones.

    Only for the process that holds the lock of the workdir.
    """
    folder = workdir / FOLDER
    for name in found.damaged:
        shutil.rmtree(folder / damaged_name(name), ignore_errors=True)
        (folder / name).rename(folder / damaged_name(name))
    entries = folder.iterdir() if folder.is_dir() else ()
    unfinished = [entry.name for entry in entries if _UNFINISHED.match(entry.name)]
    for name in [*found.half_deleted, *unfinished]:
        shutil.rmtree(folder / name)


def damaged_name(step: str) -> str:
    """Return the name that the folder of a damaged checkpoint gets."""
    return f"{step}.damaged"


def _of_step(workdir: Path, step: int) -> Path:
    return workdir / FOLDER / str(step)


def _listed(damages: Sequence[Damage]) -> str:
    more = f", and {len(damages) - 1} more files" if len(damages) > 1 else ""
    return f"{damages[0]}{more}"
