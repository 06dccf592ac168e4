"""The records of a run: metrics.jsonl, TensorBoard events, loss.png."""

import json
import os
import statistics
from pathlib import Path
from typing import Self

from tensorboardX import SummaryWriter

METRICS_FILE, PLOT_FILE, EVENTS_FOLDER = "metrics.jsonl", "loss.png", "tensorboard"


class MetricsWriter:
    """Append to the records of a run.

    A resumed run first drops the rows after its first step, so that every step is recorded once.
    """

    def __init__(self, workdir: Path, *, first_step: int):
        self._workdir = workdir
        self._path = workdir / METRICS_FILE
        kept = [row for row in read_metrics(workdir) if row["step"] <= first_step]
        partial = self._path.with_suffix(".partial")
        partial.write_text("".join(json.dumps(row) + "\n" for row in kept))
        os.replace(partial, self._path)
        self._file = self._path.open("a", buffering=1)
        self._events = SummaryWriter(
            str(workdir / EVENTS_FOLDER),
            purge_step=first_step + 1,
            filename_suffix=f".{first_step}",  # two runs in one second would share a file
        )

    def write(self, step: int, metrics: dict[str, float]) -> None:
        """Write one line, and one event per metric."""
        self._file.write(json.dumps({"step": step, **metrics}) + "\n")
        for name, value in metrics.items():
            self._events.add_scalar(name, value, step)

    def write_text(self, name: str, text: str, step: int) -> None:
        self._events.add_text(name, text, step)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self._file.close()
        self._events.close()


def read_metrics(workdir: Path) -> list[dict[str, float]]:
    """Read the rows of metrics.jsonl, without a last line that a crash cut short."""
    path = workdir / METRICS_FILE
    rows = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def plot_loss(workdir: Path, title: str, baselines: dict[str, float]) -> None:
    """Draw loss.png from metrics.jsonl: the training loss, and bits per byte against baselines."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib.figure import Figure

    rows = read_metrics(workdir)
    train = [(row["step"], row["train/loss"]) for row in rows if "train/loss" in row]
    evals = [(row["step"], row["eval/bits_per_byte"]) for row in rows if "eval/loss" in row]
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(*zip(*train, strict=True), linewidth=0.5, alpha=0.5)
    left.plot(*zip(*smoothed(train), strict=True), linewidth=2)
    left.set(title="training loss", xlabel="step", ylabel="nats per token")
    if evals:
        right.plot(*zip(*evals, strict=True), marker="o", label="this model")
    for (name, bits_per_byte), style in zip(baselines.items(), ("--", ":", "-."), strict=False):
        right.axhline(bits_per_byte, linestyle=style, color="gray", label=name)
    right.set(title="validation", xlabel="step", ylabel="bits per byte")
    right.legend()
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.suptitle(title)
    partial = workdir / f".{PLOT_FILE}"
    figure.savefig(partial, dpi=120, format="png")
    os.replace(partial, workdir / PLOT_FILE)


def smoothed(curve: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Replace each value by the mean of the tenth of the run that ends at its step."""
    window = max(1, len(curve) // 10)
    return [
        (step, statistics.fmean(value for _, value in curve[max(0, i + 1 - window) : i + 1]))
        for i, (step, _) in enumerate(curve)
    ]
