"""An ablation study as plain data: two models and the runs that lead from one to the other."""

import math
from dataclasses import dataclass
from typing import Literal

from data.config import Source, Task
from models.config import check, check_above_zero

Design = Literal["from_start", "from_end", "path", "factorial"]
"""Runs that measure the effect of each choice. from_start: the start with this one choice of the
end; from_end: the end with this one choice of the start; path: the choices one after the other, in
the order given; factorial: each choice changed in half of the runs, in a two-level design of
resolution IV or more (Box, Hunter & Hunter 2005, chapter 6)."""

Equal = Literal["flops", "params", "tokens"]
"""The budget that all variants share, besides the tokens. flops: the training FLOPs of a token;
params: the parameters; tokens: nothing else. The width of the feed-forward layers is adjusted."""


@dataclass(frozen=True, kw_only=True)
class AblationStudy:
    """The choices between two models, and the runs that tell which of them matter.

    All variants have the start's shape (layers, width, heads) and the end's text, vocabulary and
    packing. A resumed study may have other choices, designs and seeds: runs are never repeated.
    """

    start: str
    """Model of the zoo to start from."""
    end: str
    """Model of the zoo to arrive at."""
    choices: tuple[str, ...] | None = None
    """Choices to take from the end, in the order of the path. None: all in which the two differ;
    the others stay the start's."""
    designs: tuple[Design, ...] = ("from_start", "from_end", "path")
    """Runs to make."""
    equal: Equal = "flops"
    """Budget that all variants share, besides the tokens."""
    seeds: int = 3
    """Runs of each variant, each with its own order of the text and initial parameters."""
    max_doublings: int = 4
    """Doublings of the first peak, up or down, beyond which no sweep goes."""
    d_model: int | None = None
    """Width of the start; its other sizes keep their proportion. None: its own."""
    vocab_size: int = 4096
    """Tokens of the vocabulary, which is trained on the text."""
    seq_len: int = 256
    """Tokens of a sequence."""
    batch_tokens: int = 1024
    """Tokens of a step."""
    num_tokens: float = 614_400
    """Tokens of a run."""
    source: Source = Task()
    """The text."""

    def __post_init__(self):
        check_above_zero(
            self, "", "max_doublings", "d_model", "vocab_size", "seq_len", "batch_tokens"
        )
        check(
            self.seeds >= 2,
            f"seeds={self.seeds} must be at least 2, to tell effects from noise; write --seeds=3",
        )
        check(
            0 < self.num_tokens < math.inf,
            f"num_tokens={self.num_tokens:g} must be above zero; write for example "
            "--num-tokens=614400",
        )
        check(
            self.batch_tokens % self.seq_len == 0,
            f"batch_tokens={self.batch_tokens} must be a multiple of seq_len={self.seq_len}; write "
            f"--batch-tokens={max(1, self.batch_tokens // self.seq_len) * self.seq_len}",
        )
        check(
            self.num_tokens >= self.batch_tokens,
            f"num_tokens={self.num_tokens:g} is less than one step of batch_tokens="
            f"{self.batch_tokens:,}; write --num-tokens={100 * self.batch_tokens} or more",
        )
        check(
            len(set(self.designs)) == len(self.designs) > 0,
            f"designs={' '.join(self.designs)} must name each design once, and at least one; write "
            "for example --designs from_start from_end",
        )
