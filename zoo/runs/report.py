"""The terminal output of a training run."""

import math
import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import rich.progress
from rich.console import Console

from configs.experiment import Experiment
from configs.parts.objectives import (
    Continuation,
    MaskedTokens,
    NextToken,
    SpanCorruption,
    loss_unit,
)
from data.config import Files
from models.config import EncoderDecoder
from zoo.checkpoints.history import History
from zoo.common.progress import LINE_EVERY_S, Progress, eta
from zoo.explaining.choices import main_choices
from zoo.reporting.recorded_run import EVENTS_FILE


class RunReport(Progress):
    """The lines and the progress bar of a training run."""

    def __init__(self, console: Console, *, flags: Sequence[str] | None = None):
        """`flags`: the command line's, for the command that resumes; None if a program called."""
        super().__init__(console)
        self._flags = flags
        self.warnings: list[str] = []
        self.loss_unit = loss_unit(NextToken())
        """The unit of the validation loss."""
        self.kernel: str | None = None
        """The kernel that computes attention, and the reason for it."""
        self._last_line_s = -math.inf
        self._bar: rich.progress.Progress | None = None

    def warn(self, text: str) -> None:
        """Print `text` as a warning and keep it for the run's page."""
        super().warn(text)
        self.warnings.append(text)

    def attention(self, kernel: str, reason: str) -> None:
        """Show which kernel computes attention, and keep it for the run's record."""
        self.kernel = f"{kernel}: {reason}"
        self.line(f"attention: {self.kernel}")

    def model(self, name: str, experiment: Experiment, num_params: int, flops: float) -> None:
        """Show what will be trained and what that costs."""
        has_two = isinstance(experiment.model.stack, EncoderDecoder)
        of_stacks = " of each stack" if has_two else ""
        m, self.loss_unit = experiment.model, loss_unit(experiment.objective)
        self.line(
            f"{name}: {num_params:,} parameters, {m.num_layers} layers, d_model {m.d_model:,}, "
            f"vocabulary {m.vocab_size:,}, context {m.context_length:,}"
        )
        for choice in main_choices(m):
            self.line(f"  - {choice.phrase}")
        self.line(
            f"training: {experiment.num_steps:,} steps of {_batch(experiment)} x "
            f"{experiment.seq_len:,} tokens = {experiment.num_tokens:,} tokens, {flops:.2e} FLOPs "
            f"(6N + 12LHQT a token{of_stacks}), {experiment.execution.dtype} compute"
        )

    @contextmanager
    def bar(self, first_step: int, num_steps: int) -> Iterator[None]:
        """Show a bar while the block runs, or a line now and then where there is no terminal."""
        self._num_steps, self._first_step = num_steps, first_step
        self._loop_started_s = time.perf_counter()
        if self._console.is_terminal:
            self._bar = rich.progress.Progress(
                rich.progress.TextColumn("step {task.completed}/{task.total}"),
                rich.progress.BarColumn(bar_width=24),
                rich.progress.TaskProgressColumn(),
                rich.progress.TextColumn("{task.fields[numbers]}"),
                rich.progress.TextColumn("ETA"),
                rich.progress.TimeRemainingColumn(elapsed_when_finished=True),
                console=self._console,
            )
            self._task = self._bar.add_task("", total=num_steps, completed=first_step, numbers="")
        try:
            with self._bar or nullcontext():
                yield
        finally:
            self._bar = None

    def step(self, step: int, metrics: dict[str, float]) -> None:
        """Show the newest numbers."""
        mfu = metrics.get("perf/mfu")
        numbers = (
            f"loss {metrics['train/loss']:.3f}  lr {metrics['train/lr']:.2e}  "
            f"grad {metrics['train/grad_norm']:.2f}"
        )
        if (tokens_per_s := metrics.get("perf/tokens_per_s")) is not None:
            numbers += f"  {tokens_per_s:,.0f} tok/s  MFU {'n/a' if mfu is None else f'{mfu:.1%}'}"
        else:  # the first step is mostly compilation: no speed, and the estimate starts after it
            self._loop_started_s, self._first_step = time.perf_counter(), step
        if self._bar is not None:
            self._bar.update(self._task, completed=step, numbers=numbers)
        elif time.perf_counter() - self._last_line_s > LINE_EVERY_S or step == self._num_steps:
            self._last_line_s = time.perf_counter()
            steps = max(1, step - self._first_step)
            per_step_s = (self._last_line_s - self._loop_started_s) / steps
            time_left = "" if tokens_per_s is None else eta(per_step_s * (self._num_steps - step))
            self.line(f"step {step}/{self._num_steps}  {numbers}{time_left}")

    def evaluation(
        self, step: int, evaluation: dict[str, float], baselines: dict[str, float]
    ) -> None:
        """Show the validation loss beside what general-purpose compressors reach."""
        found = f"step {step}: validation {evaluation['eval/loss']:.4f} {self.loss_unit}"
        if (bits_per_byte := evaluation.get("eval/bits_per_byte")) is not None:
            against = ", ".join(f"{name} {value:.3f}" for name, value in baselines.items())
            found += f", {bits_per_byte:.4f} bits per byte ({against})"
        self.line(found)

    def start(
        self, first_step: int, experiment: Experiment, resume_from: Path | None, folder: Path
    ) -> None:
        """Show where the run starts, unless it starts with random parameters."""
        if first_step >= experiment.num_steps:
            num_steps = experiment.num_steps
            self.line(f"finished before: step {first_step} is saved, --num-steps is {num_steps}")
        elif resume_from is not None:
            self.line(f"resuming from {resume_from.relative_to(folder.absolute())}")
        elif experiment.init_from is not None:
            self.line(f"starting from the parameters of {experiment.init_from}")

    def converged(self, step: int, history: History, folder: Path) -> None:
        """Show that the run ends because its validation loss no longer falls."""
        self.line(
            f"ended at step {step}: the validation loss has not fallen in "
            f"{history.worse_evaluations} evaluations, as --patience says; its lowest, "
            f"{history.best_loss:.4f}, is that of step {history.best_step}: python -m zoo.sample "
            f"--checkpoint={shlex.quote(str(folder))} --step=best"
        )

    def events(self, counts: dict[str, int], folder: Path) -> None:
        """Show how many steps diverged, if any did."""
        if counts:
            listed = ", ".join(f"{count} x {kind}" for kind, count in counts.items())
            self.line(f"steps that diverged: {listed}; see {folder}/{EVENTS_FILE}")

    def resuming_command(self) -> str:
        """Return the command that resumes the run, or words for it if a program called."""
        if self._flags is None:
            return "train() with the same arguments, without fresh, and"
        return f"python -m zoo.train {shlex.join(_without(self._flags, _ONCE))}"

    def end(
        self,
        folder: Path,
        experiment: Experiment,
        bits_per_byte: float | None,
        baselines: dict[str, float],
        sample: str,
        *,
        converged: bool,
    ) -> None:
        """Show the verdict, a sample, and what to do next.

        `converged`: the run has ended before its last step.
        """
        lost = [name for name, value in baselines.items() if (bits_per_byte or 0.0) >= value]
        if bits_per_byte is None:
            self.line(f"no bits per byte: the loss is in {self.loss_unit}")
        elif lost:
            self.warn(
                f"the model ({bits_per_byte:.3f} bits per byte) does not beat {' and '.join(lost)} "
                "on the validation text: train longer, or on more text"
            )
        else:
            self.line(
                f"{bits_per_byte:.3f} bits per byte: the model beats {' and '.join(baselines)} on "
                "the validation text"
            )
        self._console.rule("a sample")
        self._console.print(sample, markup=False, soft_wrap=True)
        self._console.rule("next")
        is_own_text = isinstance(experiment.data.source, Files)
        prompt = sample.split("\n")[0][:20] if is_own_text else "def "
        match experiment.objective:
            case MaskedTokens():
                prompt = "import [MASK]"
            case SpanCorruption():
                prompt = "import [SPAN], sys"
            case NextToken() | Continuation():
                pass
        quoted = shlex.quote(str(folder))
        commands = [
            f"python -m zoo.sample --checkpoint={quoted} --prompt={shlex.quote(prompt)}",
            f"python -m zoo.watch {quoted}    # or open {folder}/report.html",
        ]
        if self._flags is not None:
            if converged:
                longer = _without(self._flags, _ONCE | {"--patience"})
                flags = [*longer, f"--patience={2 * (experiment.patience or 1)}"]
            else:
                longer = _without(self._flags, _ONCE | _BUDGETS)
                flags = [*longer, f"--num-steps={2 * experiment.num_steps}"]
            commands.append(f"python -m zoo.train {shlex.join(flags)}    # resumes from here")
        for command in commands:
            self._console.print("  " + command, markup=False, soft_wrap=True)


def _batch(experiment: Experiment) -> str:
    """Return the sequences of a batch, from the smallest to the largest if it grows."""
    sizes = experiment.batch_sizes
    if sizes.smallest == sizes.largest:
        return str(sizes.largest)
    return f"{sizes.size(0)} to {sizes.largest}"


_ONCE = frozenset({"--fresh", "--json"})
"""The flags with which no run resumes."""
_BUDGETS = frozenset({"--num-steps", "--num-tokens", "--num-flops", "--num-epochs"})


def _without(flags: Sequence[str], names: frozenset[str]) -> list[str]:
    """Return the flags without those of `names` and their values."""
    kept, value_follows = [], False
    for flag in flags:
        name, has_value, _ = flag.replace("_", "-").partition("=")
        if not (value_follows or name in names):
            kept.append(flag)
        value_follows = name in names - _ONCE and not has_value
    return kept
