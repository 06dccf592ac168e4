"""Run tasks of the LM Evaluation Harness on a checkpoint."""

import importlib.metadata
import importlib.util
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.experiment import Weights
from data.errors import DataError
from models.config import ConfigError, check
from zoo.common.progress import Progress
from zoo.inference.language_model import LanguageModel
from zoo.inference.loading import load

if TYPE_CHECKING:
    from lm_eval.tasks import TaskManager


def evaluate_tasks(
    folder: Path,
    names: Sequence[str],
    *,
    include_path: str | None,
    num_fewshot: int | None,
    limit: int | None,
    max_length: int | None,
    batch_tokens: int | None,
    weights: Weights,
    report: Progress,
) -> dict[str, Any]:
    """Run the tasks on the checkpoint in one step's `folder`; return what the harness returns.

    Args:
      names: tasks, groups and tags of the harness, or patterns of them.
      include_path: a folder with more tasks, as YAML files.
      num_fewshot: examples before each question; None: as the task says.
      limit: questions of each task; None: all.
      max_length: input tokens; None: the model's context.
      batch_tokens: tokens scored at a time; None: those of a batch of the run.
      weights: the form in which the model's weights are held.

    Raises ConfigError, DataError or CheckpointError for what a user can correct.
    """
    check(
        importlib.util.find_spec("lm_eval") is not None,
        "--tasks needs the LM Evaluation Harness, which is not installed; pip install "
        "'gpt-zoo[lm-eval]', or pip install lm-eval",
    )
    for flag, number in (("--limit", limit), ("--batch-tokens", batch_tokens)):
        check(number is None or number > 0, f"{flag}={number} must be above zero")
    check(num_fewshot is None or num_fewshot >= 0, f"--num-fewshot={num_fewshot} is below zero")
    from lm_eval.evaluator import simple_evaluate

    from zoo.inference.harness import HarnessModel

    report.line(f"checkpoint: {folder}")
    report.line(f"lm-eval {importlib.metadata.version('lm-eval')}: finding {', '.join(names)}")
    manager, found = _find(names, include_path)
    model = load(folder, weights=weights)
    length = _length(model, max_length)
    batch_size = max(1, (batch_tokens or model.experiment.batch_tokens) // length)
    try:
        with redirect_stdout(sys.stderr):  # for --json, which has stdout for itself
            results = simple_evaluate(
                HarnessModel(model, max_length=length, batch_size=batch_size),
                tasks=[*found],
                num_fewshot=num_fewshot,
                limit=limit,
                task_manager=manager,
                log_samples=False,
            )
    except OSError as error:  # also of a data set that cannot be downloaded
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
        raise DataError(
            f"the data of --tasks={','.join(names)} cannot be read: {reason}"
        ) from error
    assert results is not None
    return dict(results)


def _find(names: Sequence[str], include_path: str | None) -> "tuple[TaskManager, list[str]]":
    """Return the harness' index of tasks, and the tasks in it that the names and patterns match."""
    from lm_eval.tasks import TaskManager

    if include_path is not None:
        folder = Path(include_path).expanduser()
        check(
            folder.is_dir(),
            f"--harness.include-path={include_path}: there is no such folder; name a folder with "
            "the YAML files of tasks",
        )
        # The harness takes seconds to read the 14,000 tasks of its own.
        manager = TaskManager(include_path=folder, include_defaults=False)
        if all(manager.match_tasks([name]) for name in names):
            return manager, manager.match_tasks(list(names))
    manager = TaskManager(include_path=include_path and Path(include_path).expanduser())
    for name in names:
        if not manager.match_tasks([name]):
            raise ConfigError(
                f"--tasks={name}: the harness has no such task; `lm-eval ls tasks` lists all, "
                "--harness.include-path=DIR adds your own, and text sets are evaluated with --task"
            )
    return manager, manager.match_tasks(list(names))


def table(results: dict[str, Any]) -> str:
    """Return the harness' own table of the results of tasks and of groups of tasks."""
    from lm_eval.utils import make_table

    tables = [make_table(results)]
    if results.get("groups"):
        tables.append(make_table(results, "groups"))
    return "\n".join(tables)


def summary(folder: Path, results: dict[str, Any]) -> dict[str, Any]:
    """Return the object that --json prints: the harness' results, with its version."""
    kept = ("results", "groups", "versions", "n-shot", "n-samples", "higher_is_better")
    return {
        "checkpoint": str(folder),
        "lm_eval_version": importlib.metadata.version("lm-eval"),
        **{name: results[name] for name in kept if name in results},
    }


def _length(model: LanguageModel, max_length: int | None) -> int:
    longest = model.experiment.model.max_length
    length = model.experiment.model.context_length if max_length is None else max_length
    check(length > 0, f"--seq-len={length} must be above zero")
    check(
        longest is None or length <= longest,
        f"--seq-len={length} is too long: the model's learned positions end at {longest}",
    )
    return length
