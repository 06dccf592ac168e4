"""Measure the zoo's speed on this machine: `python -m zoo.bench --model=gpt2_124m`.

The measurements are made in zoo/benchmarking/.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from configs.experiment import Experiment, Weights
from models.config import check, check_above_zero
from zoo.benchmarking import WHATS, What
from zoo.command_line import cli
from zoo.command_line.model_flags import parse_with_model


@dataclass(frozen=True, kw_only=True)
class BenchCommand:
    """The flags of `python -m zoo.bench`, besides those of the experiment."""

    name: tyro.conf.Suppress[str]
    experiment: Annotated[Experiment, tyro.conf.arg(name="")]
    what: str = "train,prefill,decode"
    """The parts to measure, joined by commas. train: an optimizer step on random tokens. prefill: a
    prompt to the first token after it. decode: a prompt and all new tokens. input: the rows of
    batches, filled by one core. startup: commands, from their start to their first output."""
    against: Literal["transformers"] | None = None
    """Do the same with this library, in turn, on the same device. For train, prefill and decode."""
    repeats: int = 5
    """Repeats of each part, after a first call, which compiles, and one to warm up."""
    sequences: int | None = None
    """Sequences of --seq-len tokens in a train step, over all devices. None: 4 for each device. The
    recipe's batch, which --batch-tokens sets, is not used."""
    decode_batch: int = 1
    """Prompts that are continued together."""
    prompt_tokens: int | None = None
    """Tokens of each prompt. None: 128, or half of the model's context if that is shorter."""
    new_tokens: int | None = None
    """Tokens that follow each prompt in a decoding. None: 64, or a quarter of the context."""
    weights: Weights = "run"
    """The form of the weights for prefill and decode: run, or int8 for a byte per entry."""
    fake_devices: int = 0
    """Rehearse a mesh of this many devices on the CPU; 0 uses the real devices."""
    results: str = "runs/benchmarks.jsonl"
    """The file to which each result is appended. A result is compared with the newest earlier one
    in it of the same work on the same hardware."""
    markdown: bool = False
    """Print rows of a Markdown table."""
    json: bool = False
    """Print one JSON object and nothing else on stdout."""

    def __post_init__(self):
        check_above_zero(self, "", "repeats", "sequences", "decode_batch", "prompt_tokens")
        parts = self.what.split(",")
        unknown = [part for part in parts if part not in WHATS]
        check(
            not unknown,
            f"--what={self.what} has {', '.join(map(repr, unknown))}; write one or more of "
            f"{','.join(WHATS)}",
        )
        prompt, new = self.lengths
        longest = self.experiment.model.context_length
        check(
            new > 1 and prompt + new <= longest,
            f"--prompt-tokens={prompt} and --new-tokens={new} must fit in the model's "
            f"context_length={longest}, with 2 new tokens at least; leave them out",
        )
        check(
            self.weights == "run" or not (self.against or {"prefill", "decode"}.isdisjoint(parts)),
            f"--weights={self.weights} is for prefill and decode of the zoo alone; write "
            "--what=prefill,decode without --against",
        )
        check(
            not (self.markdown and self.json),
            "--markdown and --json exclude each other; write one of them",
        )

    @property
    def parts(self) -> list[What]:
        """The parts to measure, in the order in which they are listed above."""
        named = set(self.what.split(","))
        return [part for part in WHATS if not named.isdisjoint([part])]

    @property
    def lengths(self) -> tuple[int, int]:
        """The tokens of a prompt, and the new ones that follow it."""
        longest = self.experiment.model.context_length
        return (
            self.prompt_tokens or min(128, longest // 2),
            self.new_tokens or min(64, longest // 4),
        )


def main(argv: list[str]) -> None:
    """Measure part by part, print, and append each result to the file."""
    command = parse_with_model(
        lambda experiment, name: BenchCommand(name=name, experiment=experiment),
        argv,
        prog="python -m zoo.bench",
        description="Measure the zoo's speed on this machine, alone or in turn with another "
        "library.",
    )

    import jax

    from zoo.benchmarking import tables, theirs
    from zoo.benchmarking.measurement import measure
    from zoo.benchmarking.results import ResultsFile
    from zoo.benchmarking.workload import Workload

    jax.config.update("jax_platforms", "cpu")  # the accelerators belong to the measuring processes
    if command.against is not None:
        theirs.check_possible(command.experiment.model, command.parts)
    file = ResultsFile(Path(command.results))
    prompt_tokens, new_tokens = command.lengths
    measured = []
    for what in command.parts:
        workload = Workload(
            what=what,
            experiment=command.experiment,
            sequences=command.sequences,
            decode_batch=command.decode_batch,
            prompt_tokens=prompt_tokens,
            new_tokens=new_tokens,
            weights=command.weights,
            fake_devices=command.fake_devices,
        )
        result = measure(
            command.name,
            workload,
            against=command.against,
            repeats=command.repeats,
            report=lambda line: cli.console.print(line, markup=False, soft_wrap=True),
        )
        change = file.change(result)
        measured.append(result.to_json() | {"change": None if change is None else vars(change)})
        file.append(measured[-1])
        if command.markdown:
            head = tables.MARKDOWN_HEAD if len(measured) == 1 else ""
            print(head + tables.markdown_row(result), end="", flush=True)
        elif not command.json:
            print(tables.table(result, change), flush=True)
        if change is not None and change.is_slowdown:
            cli.console.print(tables.change_line(change), style="bold yellow", soft_wrap=True)
    if command.json:
        print(json.dumps({"results": measured}))


if __name__ == "__main__":
    cli.run(main)
