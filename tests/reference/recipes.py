"""The training runs of the nine papers as equations, in NumPy float64.

Every number is copied from the paper, not from configs/. Where the paper gives none, the comment
says whose choice it is. Steps are k = 1, 2, ...; n is the number of tokens seen.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tests.reference import adafactor, adamw, gpt1_adam


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run, with an entry for each step in its arrays."""

    seq_len: int
    batches: np.ndarray
    """Sequences."""
    rates: np.ndarray
    """Learning rates."""
    clip_norm: float
    decays_vectors: bool
    """True if weight decay shrinks biases and norm scales too."""
    z_loss: float = 0.0
    """Weight of log^2 Z in the loss."""
    step: Callable
    """Optimizer: p, g, m, v and, by name, k, lr, decays and stacked to the new p, m and v."""


def _adamw(weight_decay: float) -> Callable:
    def step(p, g, m, v, *, k, lr, decays, stacked):
        return adamw.step(p, g, m, v, k=k, lr=lr, decay=weight_decay if decays else 0)

    return step


def _steps(num_tokens: float, batch_tokens: int) -> int:
    """Return the whole number of steps that comes nearest to `num_tokens`."""
    return round(num_tokens / batch_tokens)


def _growing(batch: Callable[[int], int], num_tokens: float, seq_len: int = 2048) -> np.ndarray:
    """Return the sequences of each step if a step that begins after n tokens has batch(n)."""
    batches, n = [], 0
    while n + batch(n) * seq_len / 2 <= num_tokens:
        batches.append(batch(n))
        n += batches[-1] * seq_len
    return np.array(batches)


def _in_phases(*phases: tuple[int, int]) -> np.ndarray:
    """Return the sequences of each step from pairs of steps and sequences."""
    return np.concatenate([np.full(num_steps, size) for num_steps, size in phases])


def _rise_and_cosine(x, peak: float, rise: float, end: float, last: float, first: float = 0.0):
    """Return the rate at x, steps or tokens: a line from first to peak, then half a cosine."""
    angle = np.pi * np.clip((x - rise) / (end - rise), 0, 1)
    falling = last + (peak - last) * (1 + np.cos(angle)) / 2
    return np.where(x < rise, first + (peak - first) * x / rise, falling)


def gpt1() -> Run:
    """Section 4.1, with the Adam of opt.py."""
    num_steps = _steps(100 * 1e9, 64 * 512)  # The paper does not say how long an epoch is.
    k = np.arange(1, num_steps + 1)

    def step(p, g, m, v, *, k, lr, decays, stacked):
        return gpt1_adam.step(p, g, m, v, k=k, lr=lr, decay=0.01 if decays else 0)

    return Run(
        seq_len=512,
        batches=np.full(num_steps, 64),
        rates=_rise_and_cosine(k, peak=2.5e-4, rise=2000, end=num_steps, last=0),
        clip_norm=1.0,
        decays_vectors=False,
        step=step,
    )


def gpt2(peak: float) -> Run:
    """512 x 1024 tokens, section 2.3; all else is GPT-3's, which is the zoo's choice."""
    num_steps = _steps(300e9, 512 * 1024)
    k = np.arange(1, num_steps + 1)
    rise = _steps(375e6, 512 * 1024)
    return Run(
        seq_len=1024,
        batches=np.full(num_steps, 512),
        rates=_rise_and_cosine(k, peak, rise=rise, end=num_steps, last=peak / 10),
        clip_norm=1.0,
        decays_vectors=False,
        step=_adamw(0.1),
    )


def gpt3(full: int, peak: float, ramp: float) -> Run:
    """Appendix B. The tokens of the ramp are the zoo's choice between the paper's 4B and 12B."""
    batches = _growing(lambda n: min(full, int(16 + (full - 16) * n / ramp)), 300e9)
    n = np.cumsum(batches) * 2048
    return Run(
        seq_len=2048,
        batches=batches,
        rates=_rise_and_cosine(n, peak, rise=375e6, end=260e9, last=peak / 10),
        clip_norm=1.0,
        decays_vectors=False,
        step=_adamw(0.1),
    )


def mt_nlg() -> Run:
    """Section 3.2: 32 to 1920 sequences by 32 over 12B tokens, cosine over 340B, 270B trained."""
    batches = _growing(lambda n: min(1920, 32 + 32 * int(59 * n / 12e9)), 270e9)
    n = np.cumsum(batches) * 2048
    return Run(
        seq_len=2048,
        batches=batches,
        rates=_rise_and_cosine(n, 5e-5, rise=1e9, end=340e9, last=5e-6),
        clip_norm=1.0,
        decays_vectors=False,
        step=_adamw(0.1),
    )


def gopher(
    peak: float,
    full: int,
    clip_norm: float,
    *,
    doubles: bool = False,
    num_tokens: float = 300e9,
    weight_decay: float = 0.0,
) -> Run:
    """Sections 3.2 and 4.1 of Chinchilla's paper, whose AdamW decays by 0.1, the zoo's choice."""
    first = _steps(num_tokens / 2, full // 2 * 2048) if doubles else 0
    rest = _steps(num_tokens - first * full // 2 * 2048, full * 2048)
    k = np.arange(1, first + rest + 1)
    return Run(
        seq_len=2048,
        batches=_in_phases((first, full // 2), (rest, full)),
        rates=_rise_and_cosine(k, peak, rise=1500, end=len(k), last=peak / 10, first=1e-7),
        clip_norm=clip_norm,
        decays_vectors=False,
        step=_adamw(weight_decay),
    )


def palm(batches: np.ndarray) -> Run:
    """Section 5, with the mask of T5X's Adafactor: there is none."""
    k = np.arange(1, len(batches) + 1)

    def step(p, g, m, v, *, k, lr, decays, stacked):
        decay = lr**2 if decays else 0
        return adafactor.step(p, g, m, v, k=k, lr=lr, stacked=stacked, decay=decay)

    return Run(
        seq_len=2048,
        batches=batches,
        rates=np.where(k <= 10_000, 1e-2, 1 / np.sqrt(k)),
        clip_norm=1.0,
        decays_vectors=True,
        z_loss=1e-4,
        step=step,
    )


def palm_540b() -> Run:
    """Section 5: 512 sequences until step 50k, 1024 until 115k, 2048 until 255k."""
    return palm(_in_phases((50_000, 512), (65_000, 1024), (140_000, 2048)))


def smaller_palm(full: int, num_tokens: float) -> Run:
    """Table 1: the batch doubles once; the zoo's choice is after the 540B's share of tokens."""
    before, after = 50_000 * 512 + 65_000 * 1024, 140_000 * 2048
    first = _steps(num_tokens * before / (before + after), full // 2 * 2048)
    rest = _steps(num_tokens - first * full // 2 * 2048, full * 2048)
    return palm(_in_phases((first, full // 2), (rest, full)))


def llama(peak: float, num_tokens: float) -> Run:
    """Section 2.3 and Table 2; 4M tokens are read as 2048 sequences of 2048."""
    num_steps = _steps(num_tokens, 2048 * 2048)
    k = np.arange(1, num_steps + 1)
    return Run(
        seq_len=2048,
        batches=np.full(num_steps, 2048),
        rates=_rise_and_cosine(k, peak, rise=2000, end=num_steps, last=peak / 10),
        clip_norm=1.0,
        decays_vectors=False,
        step=_adamw(0.1),
    )


def chinchilla_scaling(millions: int, clip_norm: float) -> Run:
    """Section D.1: 2e-4 for 44M to 1.25e-4 for 16,183M; the line between them is the zoo's choice.

    So are 20 tokens a parameter, which is the 70B's ratio, and section D.4's batch of 0.5M tokens.
    """
    share = np.log(millions / 44) / np.log(16_183 / 44)
    peak = float(np.exp((1 - share) * np.log(2e-4) + share * np.log(1.25e-4)))
    return gopher(peak, 256, clip_norm, num_tokens=20e6 * millions, weight_decay=0.1)


RUNS: dict[str, Callable[[], Run]] = {
    "gpt1_117m": gpt1,
    "gpt2_124m": functools.partial(gpt2, 6e-4),
    "gpt2_1558m": functools.partial(gpt2, 2e-4),
    "gpt3_125m": functools.partial(gpt3, 256, 6e-4, 4e9),
    "gpt3_2.7b": functools.partial(gpt3, 512, 1.6e-4, 6e9),
    "gpt3_13b": functools.partial(gpt3, 1024, 1e-4, 9e9),
    "gpt3_175b": functools.partial(gpt3, 1536, 0.6e-4, 12e9),
    "jurassic1_7.5b": functools.partial(gpt3, 1024, 1.2e-4, 9e9),  # Its section 2.3: as GPT-3.
    "jurassic1_178b": functools.partial(gpt3, 1536, 0.6e-4, 12e9),
    "mt_nlg_530b": mt_nlg,
    "gopher_44m": functools.partial(gopher, 6e-4, 128, 1.0),
    "gopher_7.1b": functools.partial(gopher, 1.2e-4, 1024, 0.25),
    "gopher_280b": functools.partial(gopher, 4e-5, 3072, 0.25, doubles=True),
    "chinchilla_44m": functools.partial(chinchilla_scaling, 44, 1.0),
    "chinchilla_9293m": functools.partial(chinchilla_scaling, 9_293, 0.25),
    "chinchilla_70b": functools.partial(
        gopher, 1e-4, 1536, 0.25, doubles=True, num_tokens=1.4e12, weight_decay=0.1
    ),
    "palm_8b": functools.partial(smaller_palm, 512, 780e9),
    "palm_62b": functools.partial(smaller_palm, 1024, 795e9),
    "palm_540b": palm_540b,
    "llama_7b": functools.partial(llama, 3e-4, 1e12),
    "llama_65b": functools.partial(llama, 1.5e-4, 1.4e12),
}
"""The runs by the names of their models: in every family, one of each recipe that differs."""
