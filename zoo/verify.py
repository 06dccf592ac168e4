"""Verify that runs on this machine repeat: `python -m zoo.verify --model=palm_nano`.

The runs and their comparisons are in zoo/verification/.
"""

import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from configs.experiment import Experiment
from models.config import check
from zoo.command_line import cli
from zoo.command_line.model_flags import parse_with_model
from zoo.common.errors import MismatchError, StartedRunError, WorkdirError
from zoo.common.folders import writing
from zoo.explaining.terminal import column_widths

if TYPE_CHECKING:
    from zoo.verification.comparison import Compared
    from zoo.verification.verification import Verification


@dataclass(frozen=True, kw_only=True)
class OwnFlags:
    """The flags that the runs do not get."""

    steps: int = 10
    """Steps before the stop, and as many after it. All runs take both, log every step, and evaluate
    and save after each half, whatever the flags for that say."""
    workdir: str | None = None
    """New folder for the runs, which is kept. None: a temporary folder, which is kept if something
    differs or fails."""
    json: bool = False
    """Print one JSON object and nothing else on stdout."""

    def __post_init__(self):
        check(self.steps > 0, f"steps={self.steps} must be above zero; write --steps=10")


@dataclass(frozen=True, kw_only=True)
class VerifyCommand(OwnFlags):
    """The flags of `python -m zoo.verify`, besides those of the experiment."""

    name: tyro.conf.Suppress[str]
    experiment: Annotated[Experiment, tyro.conf.arg(name="")]
    fake_devices: int = 0
    """Rehearse everything on the CPU with this many devices; 0 starts on the real devices."""


def main(argv: list[str]) -> None:
    """Train, compare and print. Raises MismatchError (exit code 7) if something differs."""
    command = parse_with_model(
        lambda experiment, name: VerifyCommand(name=name, experiment=experiment),
        argv,
        prog="python -m zoo.verify",
        description="Verify that training on this machine and text resumes to the bit after a "
        "stop, and is the same within a tolerance on another mesh and on two hosts.",
    )
    _, flags = tyro.cli(OwnFlags, args=argv, return_unknown_args=True)
    flags += ["--log-every=1", f"--eval-every={command.steps}", f"--save-every={command.steps}"]
    flags += ["--keep=2", "--patience=None"]

    import jax

    from zoo.verification.runs import Launcher
    from zoo.verification.verification import verify

    jax.config.update("jax_platforms", "cpu")  # the accelerators belong to the runs
    start_s = time.monotonic()

    def report(line: str) -> None:
        elapsed = f"{time.monotonic() - start_s:6.1f}s"
        cli.console.print(f"{elapsed}  {line}", markup=False, soft_wrap=True)

    with _folder(command.workdir) as folder:
        result = verify(Launcher(folder, flags, report), command.steps)
        if command.json:
            print(json.dumps(to_json(command.name, result)))
        else:
            print(table(command, result))
        for what, comparison in result.comparisons.items():
            if comparison.first_beyond is not None:
                raise MismatchError(f"{what}: {comparison.first_beyond}; the runs are in {folder}")


@contextmanager
def _folder(workdir: str | None) -> Iterator[Path]:
    """Yield the folder of the runs. Raises WorkdirError if it is not new or cannot be written."""
    if workdir is not None:
        folder = Path(workdir)
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise WorkdirError(f"--workdir={workdir} is not empty; name a new folder")
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        yield folder
        return
    folder, keep = Path(tempfile.mkdtemp(prefix="zoo-verify-")), False
    try:
        yield folder
    except (MismatchError, StartedRunError):  # whose messages name the folder
        keep = True
        raise
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def to_json(name: str, result: "Verification") -> dict[str, Any]:
    """Return the fields that docs/json.md lists."""
    return {
        "model": name,
        "devices": result.devices,
        "holds": all(each.first_beyond is None for each in result.comparisons.values()),
        "comparisons": {what: each.to_json() for what, each in result.comparisons.items()},
        "notes": result.notes,
    }


def table(command: VerifyCommand, result: "Verification") -> str:
    """Return the comparisons as a table, the notes, and the verdict if nothing differs."""
    rows = [("compared with the straight run", "metrics of all steps", "final parameters")]
    for what, each in result.comparisons.items():
        rows.append((what, _cell(each.metrics), _cell(each.params)))
    widths = column_widths(rows)
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    lines += [f"note: {note}" for note in result.notes]
    if all(each.first_beyond is None for each in result.comparisons.values()):
        lines.append(
            f"verified: {2 * command.steps} steps of {command.name} repeat on {result.devices}"
        )
    return "\n".join(lines)


def _cell(compared: "Compared") -> str:
    beyond, most = compared.first_beyond, compared.largest
    if beyond is not None:
        return f"{compared.count:,} DIFFER from step {beyond.step} on: {beyond.what}"
    if most is None:
        return f"{compared.count:,} equal to the bit"
    what = f" ({most.what})" if "/" in most.what else ""
    return f"{compared.count:,} differ by at most {most.size:.0e}{what}; {most.allowed:.0e} allowed"


if __name__ == "__main__":
    cli.run(main)
