"""Weights in and out: `python -m zoo.convert --from-hf=DIR --out=DIR`, and back with `--to-hf`."""

import json
import shlex
from dataclasses import dataclass
from pathlib import Path

from configs.experiment import Mesh
from models.config import ConfigError
from zoo import cli


@dataclass(frozen=True, kw_only=True)
class ConvertCommand:
    """The flags of `python -m zoo.convert`."""

    from_hf: str | None = None
    """A Hugging Face folder (config.json, safetensors, a tokenizer) of GPT-1, GPT-2 or LLaMA shape."""
    out: str | None = None
    """With --from-hf: the new folder, for zoo.sample, zoo.load and zoo.train --init-from."""
    to_hf: str | None = None
    """The new Hugging Face folder, for AutoModelForCausalLM and AutoTokenizer."""
    checkpoint: str | None = None
    """With --to-hf: the workdir of a run (its newest checkpoint is taken) or one checkpoints/STEP
    folder."""
    verify: bool = False
    """Compare the logits with those of transformers, which must be installed, and write nothing if
    they differ."""
    mesh: Mesh = Mesh()
    """With --from-hf: spread the parameters over these devices while they are converted."""
    fake_devices: int = 0
    """Rehearse a mesh of this many devices on the CPU; 0 uses the real devices."""
    json: bool = False
    """Print one JSON object at the end and nothing else on stdout."""


def main(argv: list[str]) -> None:
    """Convert as the flags say; with --json print the summary."""
    command = cli.parse(
        ConvertCommand,
        argv,
        prog="python -m zoo.convert",
        description="Import weights from a Hugging Face folder, or export a checkpoint to one.",
    )
    given = {
        name
        for name in ("from_hf", "out", "to_hf", "checkpoint")
        if getattr(command, name) is not None
    }
    if given not in ({"from_hf", "out"}, {"to_hf", "checkpoint"}):
        raise ConfigError("write --from-hf=DIR --out=DIR, or --to-hf=DIR --checkpoint=DIR")

    from zoo.distribution.devices import configure
    from zoo.hf.convert import export_checkpoint, import_folder
    from zoo.progress import Progress

    configure(fake_devices=command.fake_devices)
    report = Progress(cli.console)
    if command.from_hf is not None and command.out is not None:
        summary = import_folder(
            Path(command.from_hf).expanduser(),
            Path(command.out).expanduser(),
            mesh=command.mesh,
            verify=command.verify,
            report=report.line,
        )
        folder = shlex.quote(command.out)
        report.line(f"wrote {command.out}; next:")
        report.line(f"  python -m zoo.sample --checkpoint={folder} --prompt='Once upon a time'")
        report.line(f"  python -m zoo.train --init-from={folder} --data.files='notes/**/*.txt'")
    else:
        assert command.checkpoint is not None and command.to_hf is not None
        summary = export_checkpoint(
            Path(command.checkpoint).expanduser(),
            Path(command.to_hf).expanduser(),
            verify=command.verify,
            report=report.line,
        )
        report.line(f"wrote {command.to_hf}, for AutoModelForCausalLM.from_pretrained")
    if command.json:
        print(json.dumps(summary))


if __name__ == "__main__":
    cli.run(main)
