"""Import or export weights: `python -m zoo.convert --from-hf=DIR --out=DIR`, or `--to-hf`."""

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, assert_never

from configs.experiment import Mesh
from models.config import ConfigError
from zoo.command_line import cli


@dataclass(frozen=True, kw_only=True)
class ConvertCommand:
    """The flags of `python -m zoo.convert`."""

    from_hf: str | None = None
    """Import this Hugging Face folder: config.json, safetensors and a tokenizer of a GPT-1, GPT-2,
    LLaMA or BERT model."""
    out: str | None = None
    """With --from-hf: the new workdir, for zoo.sample, zoo.load and zoo.train --init-from."""
    tokenizer: str | None = None
    """With --from-hf: the folder of the tokenizer, if it is another one; `none` imports the model
    without a tokenizer, for token ids only."""
    to_hf: str | None = None
    """Export to this new Hugging Face folder, for AutoModelForCausalLM and AutoTokenizer; an
    encoder for AutoModelForMaskedLM."""
    checkpoint: str | None = None
    """With --to-hf: the workdir of a run, or one checkpoints/STEP folder."""
    step: int | Literal["best"] | None = None
    """With --to-hf: the checkpoint of a workdir: its step, or best for the lowest validation loss.
    None: the newest."""
    verify: bool = False
    """Compare the logits with those of transformers, and write nothing if they differ; transformers
    and torch must be installed."""
    mesh: Mesh = Mesh()
    """With --from-hf: shard the parameters over these devices during the conversion."""
    fake_devices: int = 0
    """Rehearse a mesh of this many devices on the CPU; 0 uses the real devices."""
    json: bool = False
    """Print one JSON object at the end and nothing else on stdout."""


@dataclass(frozen=True)
class Import:
    """An import from a Hugging Face folder to a new workdir."""

    source: str
    out: str
    tokenizer: str | None
    """The folder of the tokenizer; None: the model is imported without one."""


@dataclass(frozen=True)
class Export:
    """An export from a checkpoint to a new Hugging Face folder."""

    checkpoint: str
    step: int | Literal["best"] | None
    out: str


def main(argv: list[str]) -> None:
    """Import or export as the flags say; with --json print the summary."""
    command = cli.parse(
        ConvertCommand,
        argv,
        prog="python -m zoo.convert",
        description="Import weights from a Hugging Face folder, or export a checkpoint to one.",
    )
    conversion = _conversion(command)

    from zoo.checkpoints import checkpoint
    from zoo.common.progress import Progress
    from zoo.distribution.devices import configure
    from zoo.hf.convert import export_checkpoint, import_folder

    configure(fake_devices=command.fake_devices)
    report = Progress(cli.console)
    match conversion:
        case Import(source, out, tokenizer):
            summary = import_folder(
                Path(source).expanduser(),
                Path(out).expanduser(),
                tokenizer=None if tokenizer is None else Path(tokenizer).expanduser(),
                mesh=command.mesh,
                verify=command.verify,
                report=report.line,
            )
            folder = shlex.quote(out)
            report.line(f"wrote {out}; next:")
            prompt = "--ids 0 1 2" if tokenizer is None else "--prompt='Once upon a time'"
            if summary["architecture"] == "bert":
                prompt = "--prompt='Once upon a [MASK].'"
            vocabulary = " --data.vocabulary=DIR" if tokenizer is None else ""
            files = f"--data.files='notes/**/*.txt'{vocabulary}"
            report.line(f"  python -m zoo.sample --checkpoint={folder} {prompt}")
            report.line(f"  python -m zoo.train --init-from={folder} {files}")
        case Export(source, step, out):
            summary = export_checkpoint(
                checkpoint.find(source, step=step),
                Path(out).expanduser(),
                verify=command.verify,
                report=report.line,
            )
            kind = "MaskedLM" if summary["architecture"] == "bert" else "CausalLM"
            report.line(f"wrote {out}, for AutoModelFor{kind}.from_pretrained")
        case _:
            assert_never(conversion)
    if command.json:
        print(json.dumps(summary))


def _conversion(command: ConvertCommand) -> Import | Export:
    match (command.from_hf, command.out, command.to_hf, command.checkpoint):
        case (str(source), str(out), None, None) if command.step is None:
            tokenizer = source if command.tokenizer is None else command.tokenizer
            return Import(source, out, None if tokenizer == "none" else tokenizer)
        case (None, None, str(out), str(checkpoint)) if command.tokenizer is None:
            return Export(checkpoint, command.step, out)
        case _:
            raise ConfigError("write --from-hf=DIR --out=DIR, or --to-hf=DIR --checkpoint=DIR")


if __name__ == "__main__":
    cli.run(main)
