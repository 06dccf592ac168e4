"""The lessons by name, as plain data: what each one asks, and the sizes that its flags change."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import configs
from configs.studies.study import AblationStudy
from data.config import Files, Task
from models.config import check, check_above_zero
from zoo.reporting.output import PICTURES, check_out

Report = Callable[[str], None]
"""Takes a line of progress."""
Budget = Literal["flops", "bytes"]
"""The budget of runs with different vocabularies. flops: the same training FLOPs; bytes: the same
bytes of text."""
KINDS = (".html", *PICTURES)


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """The flags that all lessons share."""

    out: str
    """File to write: .html has tables and pictures; .png, .svg and .pdf have the pictures alone."""
    json: bool = False
    """Print one JSON object and nothing else on stdout."""

    def __post_init__(self):
        check_out(self.out, KINDS)

    @classmethod
    def line(cls) -> str:
        """Return the question of the lesson in a line."""
        return (cls.__doc__ or "").partition("\n")[0].removesuffix(".")


@dataclass(frozen=True, kw_only=True)
class Heads(Lesson):
    """Decode speed and cache bytes of multi-head, grouped-query and multi-query attention."""

    out: str = "heads.html"
    kv_heads: tuple[int, ...] = (8, 2, 1)
    """Key and value heads of the models; as many as --num-heads is multi-head, 1 multi-query."""
    num_heads: int = 8
    """Query heads of all models."""
    head_dim: int = 64
    """Width of a head; the width of the models is that of all query heads."""
    num_layers: int = 4
    """Layers of all models."""
    lengths: tuple[int, ...] = (256, 1024, 4096)
    """Tokens that the cache holds when a token is decoded."""
    batch_sizes: tuple[int, ...] = (1, 8)
    """Rows that are decoded together."""
    repeats: int = 7
    """Timed calls of each; a call decodes 16 tokens."""

    def __post_init__(self):
        super().__post_init__()
        check_above_zero(self, "", "num_heads", "head_dim", "num_layers", "repeats")
        _check_numbers("kv-heads", self.kv_heads)
        check(
            len(self.kv_heads) > 1,
            f"--kv-heads={self.kv_heads} must hold two numbers or more, to compare; write for "
            "example --kv-heads 8 1",
        )
        _check_numbers("lengths", self.lengths)
        _check_numbers("batch-sizes", self.batch_sizes)


@dataclass(frozen=True, kw_only=True)
class Attention(Lesson):
    """Time and memory of dense, blockwise, banded and fused attention, by length."""

    out: str = "attention.html"
    num_heads: int = 2
    """Heads."""
    head_dim: int = 64
    """Width of a head."""
    lengths: tuple[int, ...] = (1024, 2048, 4096, 8192)
    """Tokens of a sequence; two or more."""
    band: int = 256
    """Tokens that a query of the fixed band sees, itself included."""
    band_share: int = 8
    """The growing band is the length divided by this."""
    repeats: int = 3
    """Timed calls of each form and length."""

    def __post_init__(self):
        super().__post_init__()
        check_above_zero(self, "", "num_heads", "head_dim", "band", "band_share", "repeats")
        _check_numbers("lengths", self.lengths)
        check(
            len(self.lengths) > 1,
            f"--lengths={self.lengths} must hold two numbers or more, to fit a growth; write for "
            "example --lengths 512 1024",
        )


@dataclass(frozen=True, kw_only=True)
class FeedForward(Lesson):
    """SwiGLU against GELU at equal parameters and FLOPs, with several seeds."""

    out: str = "feed_forward.html"
    base: str = "palm_small"
    """Model of the zoo whose shape and recipe both variants have."""
    d_model: int = 64
    """Width; the other sizes keep their proportion."""
    vocab_size: int = 512
    """Tokens of the vocabulary, which is trained on the text."""
    seq_len: int = 128
    """Tokens of a sequence."""
    batch_tokens: int = 1024
    """Tokens of a step."""
    num_tokens: float = 150 * 1024
    """Tokens of a run."""
    seeds: int = 4
    """Runs of each variant, besides those of its sweep of the learning rate."""
    files: str | None = None
    """Train on these files, a glob. None: the Python standard library's source text."""
    jobs: int = 1
    """Runs at a time, each on a GPU of its own or on its share of the cores."""

    def __post_init__(self):
        super().__post_init__()
        check_above_zero(self, "", "jobs")
        self.study()

    def study(self) -> AblationStudy:
        """Return the ablation that the lesson runs: one choice, up to three doublings of its peak.

        Raises ConfigError if there is no such base.
        """
        kind = configs.get(self.base).model.feed_forward.kind
        return AblationStudy(
            start=self.base,
            end="gpt2_small" if kind == "swiglu" else "llama_small",
            choices=("feed_forward",),
            designs=("from_start",),
            equal="flops",
            seeds=self.seeds,
            max_doublings=3,
            d_model=self.d_model,
            vocab_size=self.vocab_size,
            seq_len=self.seq_len,
            batch_tokens=self.batch_tokens,
            num_tokens=self.num_tokens,
            source=_source(self.files),
        )


@dataclass(frozen=True, kw_only=True)
class Vocabularies(Lesson):
    """Bytes, BPE and unigram tokens in bits per byte, with one model and one budget."""

    out: str = "vocabularies.html"
    family: str = "palm"
    """Family whose proportions and recipe the models have."""
    d_model: int = 64
    """Width; the other sizes keep their proportion."""
    vocab_size: int = 1024
    """Tokens of the BPE and the unigram vocabulary; unigram may get fewer."""
    vocabulary_bytes: int = 1_000_000
    """Bytes of text on which the vocabularies are trained."""
    seq_len: int = 128
    """Tokens of a sequence."""
    batch_tokens: int = 1024
    """Tokens of a step."""
    equal: Budget = "flops"
    """The budget that all runs share."""
    num_bytes: float = 600e3
    """Bytes of text of a run with the BPE vocabulary, whose FLOPs are those of all others."""
    seeds: int = 3
    """Runs of each vocabulary."""
    files: str | None = None
    """Train on these files, a glob. None: the Python standard library's source text."""

    def __post_init__(self):
        super().__post_init__()
        check_above_zero(self, "", "d_model", "vocab_size", "vocabulary_bytes", "seq_len")
        check(
            self.seeds >= 2,
            f"--seeds={self.seeds} must be at least 2, to tell differences from noise; write "
            "--seeds=3",
        )
        check(
            0 < self.num_bytes < math.inf,
            f"--num-bytes={self.num_bytes:g} must be above zero; write for example "
            "--num-bytes=600000",
        )
        check(
            self.batch_tokens > 0 and self.batch_tokens % self.seq_len == 0,
            f"--batch-tokens={self.batch_tokens} must be a multiple of --seq-len={self.seq_len}; "
            f"write --batch-tokens={max(1, self.batch_tokens // self.seq_len) * self.seq_len}",
        )

    @property
    def source(self) -> Task | Files:
        """The text."""
        return _source(self.files)


def _check_numbers(flag: str, numbers: tuple[int, ...]) -> None:
    check(
        len(numbers) > 0 and min(numbers) > 0 and len(set(numbers)) == len(numbers),
        f"--{flag}={numbers} must hold at least one number, all above zero and different; write "
        f"for example --{flag} 1 8",
    )


def _source(files: str | None) -> Task | Files:
    return Task() if files is None else Files(files)


AnyLesson = Heads | Attention | FeedForward | Vocabularies
LESSONS: dict[str, type[AnyLesson]] = {
    "heads": Heads,
    "attention": Attention,
    "feed_forward": FeedForward,
    "vocabularies": Vocabularies,
}
"""The lessons in the order of the list. Each has a file of its name beside this one."""
