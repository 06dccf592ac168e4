"""Measure a checkpoint on text: `python -m zoo.evaluate --checkpoint=runs/palm_small`."""

import json
from dataclasses import dataclass

from configs.experiment import Mesh
from models.config import check
from zoo import cli
from zoo.process import keep_freed_memory


@dataclass(frozen=True, kw_only=True)
class Text:
    """Other text than the run's own."""

    task: str | None = None
    """A task, of which the validation split is evaluated. None: the run's own text."""
    files: str | None = None
    """A glob such as 'notes/**/*.txt' (UTF-8, one document a file), all of which is evaluated; its
    5-gram is trained on what the model was trained on."""
    cache_dir: str | None = None
    """Where token caches are kept. None: where the run kept them."""

    def __post_init__(self):
        check(self.task is None or self.files is None,
              f"--data.task={self.task} and --data.files={self.files} exclude each other; "
              "write one of them")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class EvaluateCommand:
    """The flags of `python -m zoo.evaluate`."""

    checkpoint: str
    """The workdir of a run (its newest checkpoint is taken) or one checkpoints/STEP folder."""
    data: Text = Text()
    seq_len: int | None = None
    """Tokens in a row; rotary and relative positions allow more than the run had. None: as the run."""
    batch_tokens: int | None = None
    """Tokens evaluated at a time, over all devices; fewer need less memory. None: as the run."""
    max_tokens: int | None = None
    """Stop after this many tokens of the text; the baselines stay those of all of it. None: all."""
    mesh: Mesh = Mesh()
    fake_devices: int = 0
    """Rehearse a mesh of this many devices on the CPU; 0 uses the real devices."""
    json: bool = False
    """Print one JSON object and nothing else on stdout."""


def main(argv: list[str]) -> None:
    """Evaluate as the flags say and print the result."""
    command = cli.parse(
        EvaluateCommand,
        argv,
        prog="python -m zoo.evaluate",
        description="Measure a checkpoint on the text that its run held out, or on other text.",
    )

    from zoo.distribution.devices import configure
    from zoo.inference.evaluation import evaluate_checkpoint
    from zoo.progress import Progress

    configure(cache_dir=command.data.cache_dir, fake_devices=command.fake_devices)
    measured = evaluate_checkpoint(
        command.checkpoint,
        task=command.data.task,
        files=command.data.files,
        cache_dir=command.data.cache_dir,
        seq_len=command.seq_len,
        batch_tokens=command.batch_tokens,
        max_tokens=command.max_tokens,
        mesh=command.mesh,
        report=Progress(cli.console),
    )
    text, evaluation = measured.text, measured.evaluation
    if command.json:
        summary = {
            "checkpoint": str(measured.folder),
            "text": text.source,
            "seq_len": measured.experiment.seq_len,
            "num_tokens": evaluation.num_tokens,
            "num_bytes": evaluation.num_bytes,
            "eval/loss": evaluation.loss,
            "eval/perplexity": evaluation.perplexity,
            "eval/bits_per_byte": evaluation.bits_per_byte,
            "baselines": text.baselines,
        }
        print(json.dumps(summary))
        return
    print(
        f"text           {text.source}: {evaluation.num_bytes:,} bytes\n"
        f"tokens         {evaluation.num_tokens:,} predicted, in rows of {measured.experiment.seq_len:,}\n"
        f"loss           {evaluation.loss:.4f} nats per token\n"
        f"perplexity     {evaluation.perplexity:.4g}\n"
        f"bits per byte  {evaluation.bits_per_byte:.4f}"
    )
    whole = "" if command.max_tokens is None else ", on the whole text"
    for name, bits_per_byte in text.baselines.items():
        print(f"  {name:<13}{bits_per_byte:.4f}{whole}")


if __name__ == "__main__":
    keep_freed_memory()
    cli.run(main)
