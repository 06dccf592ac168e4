"""Measure a checkpoint on text: `python -m zoo.evaluate --checkpoint=runs/palm_small`."""

import json
from dataclasses import dataclass

from configs.experiment import Mesh
from data.flags import SourceFlags
from models.config import check
from zoo import cli
from zoo.common.process import keep_freed_memory


@dataclass(frozen=True, kw_only=True)
class TextFlags(SourceFlags):
    """The text to evaluate instead of what the run held out.

    It is the validation split of a task or of a mixture, or all of the files, for which the 5-gram
    is trained on the model's training text. Options that are not given are those of the run's text.
    """

    cache_dir: str | None = None
    """Folder of token caches. None: the folder that the run used."""

    def __post_init__(self):
        check(
            self.named_source() is not None or not self.options(),
            f"{', '.join(f'data.{name}' for name in self.options())} needs a source of text; write "
            "--data.task, --data.files or --data.mixture too",
        )


@dataclass(frozen=True, kw_only=True)
class EvaluateCommand:
    """The flags of `python -m zoo.evaluate`."""

    checkpoint: str
    """The workdir of a run (its newest checkpoint is taken) or one checkpoints/STEP folder."""
    data: TextFlags = TextFlags()
    seq_len: int | None = None
    """Tokens in a row; rotary and relative positions allow more than the run's. None: the run's."""
    batch_tokens: int | None = None
    """Tokens evaluated at a time, over all devices; fewer need less memory. None: as in the run."""
    max_tokens: int | None = None
    """Stop after this many tokens of the text; the baselines are those of all of it. None: all."""
    mesh: Mesh = Mesh()
    fake_devices: int = 0
    """Rehearse a mesh of this many devices on the CPU; 0: use the real devices."""
    json: bool = False
    """Print one JSON object and nothing else on stdout."""


def main(argv: list[str]) -> None:
    """Evaluate a checkpoint and print the result."""
    command = cli.parse(
        EvaluateCommand,
        argv,
        prog="python -m zoo.evaluate",
        description="Measure a checkpoint on the text that its run held out, or on other text.",
    )

    from zoo.checkpoints import checkpoint
    from zoo.common.progress import Progress
    from zoo.distribution.devices import configure
    from zoo.inference.evaluation import evaluate_checkpoint

    configure(cache_dir=command.data.cache_dir, fake_devices=command.fake_devices)
    folder = checkpoint.find(command.checkpoint)
    source = None
    if command.data.named_source() is not None:
        source = command.data.resolve(checkpoint.read_run(folder).experiment.data.source)
    measured = evaluate_checkpoint(
        str(folder),
        source=source,
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
            "packing": text.packing,
            "num_tokens": evaluation.num_tokens,
            "num_bytes": evaluation.num_bytes,
            "eval/loss": evaluation.loss,
            "eval/perplexity": evaluation.perplexity,
            "eval/bits_per_byte": evaluation.bits_per_byte,
            "baselines": text.baselines,
        }
        print(json.dumps(summary))
        return
    seq_len = measured.experiment.seq_len
    print(
        f"text           {text.source}: {evaluation.num_bytes:,} bytes\n"
        f"tokens         {evaluation.num_tokens:,} predicted, in rows of {seq_len:,}, "
        f"data.packing={text.packing}\n"
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
