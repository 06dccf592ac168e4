"""Sample from a checkpoint: `python -m zoo.sample --checkpoint=runs/palm_small --prompt='def '`."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from configs.experiment import Distributed, Mesh, Weights
from models.config import ConfigError, check
from zoo.command_line import cli

if TYPE_CHECKING:
    from zoo.distribution.hosts import Hosts
    from zoo.inference.decode import Sampling
    from zoo.inference.language_model import LanguageModel
    from zoo.ngram.model import NgramModel

_MAX_SAMPLES = 10_000


@dataclass(frozen=True, kw_only=True)
class SampleCommand:
    """The flags of `python -m zoo.sample`."""

    checkpoint: str
    """The workdir of a run, one checkpoints/STEP folder, or an n-gram model of zoo.ngram."""
    step: int | Literal["best"] | None = None
    """The checkpoint of a workdir: its step, or best for the lowest validation loss. None: the
    newest."""
    prompt: tuple[str, ...] = ()
    """One or more texts to continue. Without --prompt and --prompt-file, the prompt is standard
    input if that is piped, and otherwise the start of a document. An encoder fills each [MASK] of
    its prompt instead, and a model of cut spans each [SPAN]."""
    prompt_file: str | None = None
    """A UTF-8 file whose whole content is the prompt."""
    ids: tuple[int, ...] | None = None
    """One prompt as token ids; the output is ids, too. For models without a tokenizer."""
    max_tokens: int = 200
    """The largest number of tokens to add to each prompt."""
    temperature: float = 0.8
    """Below 1 the text is safer, above 1 more daring; 0 always takes the most likely token."""
    top_k: int | None = 40
    """Draw from the k most likely tokens only; None draws from all."""
    top_p: float | None = 0.95
    """Draw from the fewest tokens whose probability reaches p; None draws from all."""
    num_samples: int = 1
    """The number of continuations of each prompt."""
    seed: int = 0
    """The seed of the random draws; the same seed gives the same samples."""
    weights: Weights = "run"
    """run: in the precision of the run. int8: one byte per entry of a matrix, so that each token
    reads a quarter of float32 weights. zoo.evaluate --weights=int8 tells what it costs in bits per
    byte."""
    draft: str | None = None
    """The workdir or checkpoints/STEP folder of a smaller model with the same vocabulary, which
    proposes tokens that --checkpoint then reads all at once (speculative decoding). The text has
    the same distribution as without it, or with --temperature=0 is the same."""
    draft_tokens: int = 4
    """Tokens that --draft proposes at a time, from 1 to 15."""
    mesh: Mesh = Mesh()
    """The devices that share the weights and the cache; --mesh=auto takes all, along axes with
    which they fit, and says why. No --mesh flag: the first device alone."""
    fake_devices: int = 0
    """Rehearse a mesh of this many devices on the CPU; 0: use the real devices."""
    distributed: Distributed = Distributed()
    json: bool = False
    """Print one JSON object, {"samples": [{"prompt", "text"}, ...]}, and nothing else on stdout;
    with --ids, "ids" instead of "text"; with --draft, its acceptance rate too."""


def main(argv: list[str]) -> None:
    """Sample as the flags say and show the text while it is generated."""
    command = cli.parse(
        SampleCommand, argv, prog="python -m zoo.sample", description="Sample from a checkpoint."
    )
    if not 1 <= command.num_samples <= _MAX_SAMPLES:
        raise ConfigError(
            f"--num-samples={command.num_samples} must be above zero and at most {_MAX_SAMPLES:,}, "
            "since all samples are drawn at once; call again with another --seed for more"
        )
    if command.ids is not None and (command.prompt or command.prompt_file is not None):
        raise ConfigError("--ids is a prompt of its own; leave out --prompt and --prompt-file")
    texts = [] if command.ids is not None else _prompts(command)
    prompts = [text for text in texts for _ in range(command.num_samples)]

    from zoo.inference.decode import Sampling
    from zoo.ngram.files import is_ngram

    sampling = Sampling(temperature=command.temperature, top_k=command.top_k, top_p=command.top_p)
    hosts = _join(command)
    prompts = hosts.gather(prompts)[0]  # a launcher may give its standard input to one process
    if not is_ngram(command.checkpoint) and _sample_contrast(command, prompts, sampling):
        return
    num_rows = len(prompts) or command.num_samples
    model = hosts.together(lambda: _load(command, num_rows, hosts))
    if command.ids is not None:
        _sample_ids(command, model, sampling, hosts)
        return
    stream = model.stream(
        prompts, max_tokens=command.max_tokens, sampling=sampling, seed=command.seed
    )
    texts = [""] * len(prompts)
    for number, additions in enumerate(stream):
        texts = [text + addition for text, addition in zip(texts, additions, strict=True)]
        if command.json or not hosts.is_primary:
            continue
        # The first prompt is shown once a first token proves that the settings are right. Its text
        # is shown while it is generated; the other texts are shown once all are complete.
        if number == 0:
            _show(prompts[0])
        _show(additions[0])
    if not hosts.is_primary:
        return
    if command.json:
        samples = [
            {"prompt": prompt, "text": text} for prompt, text in zip(prompts, texts, strict=True)
        ]
        _print_json(command, model, samples)
        return
    for number, (prompt, text) in enumerate(zip(prompts[1:], texts[1:], strict=True), start=2):
        _show(f"\n{f' sample {number} ':-^80}\n{prompt}{text}")
    _show("\n")
    _report_draft(model)


def _sample_contrast(command: SampleCommand, prompts: list[str], sampling: "Sampling") -> bool:
    """Sample from a model with an encoder; return whether the checkpoint holds one."""
    from zoo.contrasts.loading import is_contrast

    if not is_contrast(command.checkpoint, command.step):
        return False
    defaults = SampleCommand(checkpoint=command.checkpoint)
    for name in (
        "ids", "weights", "draft", "draft_tokens", "mesh", "fake_devices", "distributed",
    ):  # fmt: skip
        check(
            getattr(command, name) == getattr(defaults, name),
            f"--{name.replace('_', '-')} is for a decoder, and --checkpoint={command.checkpoint} "
            "has an encoder; leave it out",
        )
    from zoo.contrasts.sampling import sample

    sample(
        command.checkpoint,
        command.step,
        prompts,
        sampling=sampling,
        max_tokens=command.max_tokens,
        seed=command.seed,
        as_json=command.json,
    )
    return True


def _join(command: SampleCommand) -> "Hosts":
    """Connect the processes that share a mesh; without one, this process works alone.

    Call this before anything is read, since Orbax asks JAX for its devices.
    """
    from zoo.checkpoints import checkpoint
    from zoo.common.progress import Progress
    from zoo.distribution.devices import configure
    from zoo.distribution.hosts import Hosts, called_as
    from zoo.distribution.join import join
    from zoo.ngram.files import is_ngram

    configure(fake_devices=command.fake_devices)
    if command.mesh == Mesh():
        check(
            command.distributed == Distributed(),
            "--distributed connects processes that share a model over a mesh; write --mesh=auto "
            "too, or leave --distributed out",
        )
    if command.mesh == Mesh() or is_ngram(command.checkpoint):  # `_load` refuses the flags
        return Hosts()
    folder = checkpoint.find(command.checkpoint, step=command.step)
    hosts = join(command.distributed, None, Progress(cli.console))
    hosts.require_same("what to sample", called_as(command, folder), ConfigError)
    return hosts


def _load(command: SampleCommand, num_rows: int, hosts: "Hosts") -> "LanguageModel | NgramModel":
    from zoo.ngram.files import is_ngram

    if is_ngram(command.checkpoint):
        from zoo.ngram.model import NgramModel

        of_transformers = (
            "step", "weights", "draft", "draft_tokens", "mesh", "fake_devices", "distributed",
        )  # fmt: skip
        defaults = SampleCommand(checkpoint=command.checkpoint)
        for name in of_transformers:
            check(
                getattr(command, name) == getattr(defaults, name),
                f"--{name.replace('_', '-')} is for a checkpoint of a run, and "
                f"--checkpoint={command.checkpoint} is an n-gram model; leave it out",
            )
        return NgramModel.read(Path(command.checkpoint).expanduser())

    from zoo.planning.placement import load

    return load(
        command.checkpoint,
        step=command.step,
        mesh=None if command.mesh == Mesh() else command.mesh,
        weights=command.weights,
        draft=command.draft,
        draft_tokens=command.draft_tokens,
        num_rows=num_rows,
        report=cli.report if hosts.is_primary else None,
    )


def _sample_ids(
    command: SampleCommand,
    model: "LanguageModel | NgramModel",
    sampling: "Sampling",
    hosts: "Hosts",
) -> None:
    """Print a line of token ids for each sample."""
    prompt = list(command.ids or ())
    rows = model.sample_ids(
        [prompt] * command.num_samples,
        max_tokens=command.max_tokens,
        sampling=sampling,
        seed=command.seed,
    )
    if not hosts.is_primary:
        return
    if command.json:
        samples = [{"prompt": prompt, "ids": row} for row in rows]
        _print_json(command, model, samples)
        return
    for row in rows:
        print(*prompt, *row)
    _report_draft(model)


def _print_json(
    command: SampleCommand, model: "LanguageModel | NgramModel", samples: list[dict[str, Any]]
) -> None:
    found = {"checkpoint": command.checkpoint, "samples": samples}
    if model.draft is not None:
        found["draft"] = {"checkpoint": command.draft, **model.draft.tally.to_json()}
    print(json.dumps(found))


def _report_draft(model: "LanguageModel | NgramModel") -> None:
    """Say on stderr how much of the draft's text was kept."""
    if model.draft is not None:
        tally = model.draft.tally
        cli.console.print(
            f"draft: {tally.kept} of {tally.proposed} proposed tokens were kept, an acceptance "
            f"rate of {tally.acceptance_rate:.1%}"
        )


def _prompts(command: SampleCommand) -> list[str]:
    """Return the prompts; raise ConfigError for one that is not UTF-8 text or cannot be read."""
    try:
        prompts = _read_prompts(command)
        for prompt in prompts:
            prompt.encode("utf-8")  # Python reads other bytes as halves of surrogate pairs
    except (OSError, ValueError) as error:
        path = command.prompt_file
        source = "the prompt" if path is None else f"--prompt-file={path}"
        raise ConfigError(f"{source} cannot be read as UTF-8 text: {error}") from error
    return prompts


def _read_prompts(command: SampleCommand) -> list[str]:
    if command.prompt:
        return list(command.prompt)
    if command.prompt_file is not None:
        return [Path(command.prompt_file).read_text(encoding="utf-8")]
    return [""] if sys.stdin.isatty() else [sys.stdin.read()]


def _show(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    cli.run(main)
