"""The choices that a paper makes, as plain data. Standard library only.

`ModelConfig` holds everything that changes the function or the shapes of the parameters;
`models.execution.Execution` holds what changes only its speed and its memory. A choice is a type or
a word, never a flag; `models/` turns each one into code in a single `match`.
"""

from dataclasses import dataclass
from typing import Literal, assert_never

from models.encoders.stacks import Decoder, Encoder, EncoderDecoder, Stack


class ConfigError(Exception):
    """A value that breaks a rule; the message names field, value, rule and remedy."""


def check(rule_holds: bool, message: str) -> None:
    """Raise ConfigError(message) unless the rule holds."""
    if not rule_holds:
        raise ConfigError(message)


def check_above_zero(config: object, prefix: str, *fields: str) -> None:
    """Raise ConfigError unless each of the fields of `config` is above zero or None.

    Args:
      prefix: the dotted path of `config` with its last dot, such as "model."; "" for an experiment.
    """
    for field in fields:
        value, flag = getattr(config, field), f"{prefix}{field}".replace("_", "-")
        check(
            value is None or value > 0,
            f"{prefix}{field}={value} must be above zero; write --{flag}=1 or more",
        )


# --- normalisation ---------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class LayerNorm:
    """(x - mean) / sqrt(var + eps) * scale [+ bias] (Ba et al. 2016)."""

    eps: float = 1e-5


@dataclass(frozen=True, kw_only=True)
class RMSNorm:
    """x / sqrt(mean(x^2) + eps) * scale (Zhang & Sennrich 2019)."""

    eps: float = 1e-6


# --- positions -------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Learned:
    """One trained vector per position, added to the token embedding."""


@dataclass(frozen=True, kw_only=True)
class SlowedRotation:
    """Llama 3.1's slowed rotary positions, for texts longer than those of its first training.

    Slow pairs turn `factor` times more slowly, fast pairs as before (Grattafiori et al. 2024, and
    the code released with it).
    """

    factor: float
    slow_turns: float = 1.0
    """A pair that turns less often than this over `original_length` is slow."""
    fast_turns: float = 4.0
    """A pair that turns more often than this is fast. Pairs in between blend both speeds."""
    original_length: int
    """Context length of the first training, in tokens."""

    def __post_init__(self):
        check(
            self.factor > 0 and 0 < self.slow_turns < self.fast_turns,
            f"model.position.slowed has factor={self.factor}, slow_turns={self.slow_turns} and "
            f"fast_turns={self.fast_turns}; all must be above zero, and fast_turns must be larger "
            "than slow_turns",
        )


@dataclass(frozen=True, kw_only=True)
class Rotary:
    """Queries and keys rotated by an angle proportional to their position (Su et al. 2021)."""

    theta: float = 10_000.0
    """Pair i of H/2 turns by theta^(-2i/H) radians per position."""
    slowed: SlowedRotation | None = None
    """None: no slow-down."""


@dataclass(frozen=True, kw_only=True)
class Relative:
    """Scores that depend on the distance to the key (Transformer-XL, Dai et al. 2019).

    Each layer has a projection for the sinusoids of the distance, and two trained vectors u and v.
    """


@dataclass(frozen=True, kw_only=True)
class Sinusoidal:
    """Sines and cosines of the position, added to the embedding (Vaswani et al. 2017, 3.5)."""


@dataclass(frozen=True, kw_only=True)
class Bucketed:
    """A trained number for each head and bucket of distances, added to the scores.

    Raffel et al. 2020 (T5), section 2.1. All layers of a stack share one table. Short distances
    have buckets of their own; longer ones share buckets whose width grows with the distance.
    """

    num_buckets: int = 32
    """Buckets of a table; where a token sees both sides, half of them for each side."""
    max_distance: int = 128
    """Distance from which on all share the last bucket."""


Position = Learned | Rotary | Relative | Sinusoidal | Bucketed
"""The way in which a model knows the order of its tokens."""


# --- initialisation --------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Normal:
    """Every matrix is drawn from N(0, std)."""

    std: float
    position_std: float | None = None
    """Standard deviation of learned positions; None: `std`."""
    residual: Literal["plain", "scaled_by_depth"] = "plain"
    """`scaled_by_depth`: the two projections that write to the residual stream are drawn with
    std / sqrt(2 num_layers) (Radford et al. 2019, section 2.3)."""


@dataclass(frozen=True, kw_only=True)
class TruncatedNormal:
    """Every matrix is drawn from N(0, std), and drawn again beyond two standard deviations."""

    std: float


@dataclass(frozen=True, kw_only=True)
class FanIn:
    """Kernels from N(0, 1/sqrt(fan_in)), embeddings from N(0, embedding_std) (PaLM, section 5)."""

    embedding_std: float = 1.0


# --- the two halves of a block ---------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Attention:
    """The number of attention heads, their width, and how far back they see."""

    num_heads: int
    """Query heads, N."""
    num_kv_heads: int
    """Key and value heads, K. num_heads: multi-head; 1: multi-query; in between: grouped-query."""
    head_dim: int
    """Width of one head, H."""
    windows: tuple[int | None, ...] = (None,)
    """The window of each layer: how many of the latest tokens a query sees, itself included; None:
    all of them. The tuple repeats over the layers: (None, 256) alternates dense layers with layers
    that have a window of 256."""

    def __post_init__(self):
        check(
            self.num_heads > 0 and self.head_dim > 0,
            f"model.attention has num_heads={self.num_heads} and head_dim={self.head_dim}; both "
            "must be above zero",
        )
        check(
            self.num_kv_heads > 0 and self.num_heads % self.num_kv_heads == 0,
            f"model.attention.num_kv_heads={self.num_kv_heads} must divide "
            f"num_heads={self.num_heads}; write 1 for multi-query or {self.num_heads} for "
            "multi-head attention",
        )
        check(
            len(self.windows) > 0 and all(w is None or w > 0 for w in self.windows),
            f"model.attention.windows={self.windows} must hold at least one entry, each None or "
            "above zero; (None,) is dense attention in every layer",
        )


FeedForwardKind = Literal["gelu", "gelu_erf", "relu", "swiglu", "geglu"]
Layout = Literal["post_norm", "pre_norm", "parallel"]


@dataclass(frozen=True, kw_only=True)
class FeedForward:
    """The two or three matrices that are applied to every token separately."""

    d_ff: int
    """Inner width, F."""
    kind: FeedForwardKind
    """`gelu`: GELU(xW1)W2 in its tanh form; `gelu_erf`: in its exact form; `relu`: ReLU(xW1)W2;
    `swiglu`: (Swish(xW) * xV)W2, three matrices; `geglu`: (GELU(xW) * xV)W2, in the tanh form."""

    def __post_init__(self):
        check(self.d_ff > 0, f"model.feed_forward.d_ff={self.d_ff} must be above zero")


# --- the whole -------------------------------------------------------------------------------

Bias = Literal["qkv", "attention_output", "feed_forward", "norm", "logits"]
"""A part of the model to which a paper may add a trained bias."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """One transformer: exactly what its paper says about the function."""

    vocab_size: int
    """Number of token ids, V."""
    context_length: int
    """Length of the longest sequence that the model is designed for, in tokens."""
    num_layers: int
    """Number of blocks, L."""
    d_model: int
    """Width of the residual stream, D."""
    attention: Attention
    feed_forward: FeedForward
    norm: LayerNorm | RMSNorm
    position: Position
    layout: Layout
    """The order of norm, attention and feed-forward in a block; drawn in models/block.py."""
    biases: tuple[Bias, ...]
    """Parts with trained biases; () is none."""
    tie_embeddings: bool
    """Use the transposed input embedding as the output matrix."""
    logit_scale: Literal["one", "inverse_sqrt_d_model"] = "one"
    """The factor by which the logits are multiplied."""
    embedding_scale: Literal["one", "sqrt_d_model"] = "one"
    """The factor by which the embeddings of the tokens are multiplied."""
    init: Normal | TruncatedNormal | FanIn
    dropout_rate: float = 0.0
    """Dropout on the embedding, the attention weights and the output of each sub-block."""
    embedding_dropout: Literal["vectors", "tables"] = "vectors"
    """The entries of the embedding that dropout hits. vectors: those of the vector of each token in
    the batch, each for itself; tables: those of the tables of tokens and positions, the same for
    all tokens of a micro-batch and in a tied output matrix."""
    stack: Stack = Decoder()

    def __post_init__(self):
        for field in ("vocab_size", "context_length", "num_layers", "d_model"):
            value = getattr(self, field)
            check(
                value > 0,
                f"model.{field}={value} must be above zero; "
                f"write --model.{field.replace('_', '-')}=1 or more",
            )
        check(
            not isinstance(self.position, Rotary) or self.attention.head_dim % 2 == 0,
            f"model.attention.head_dim={self.attention.head_dim} must be even: rotary positions "
            "turn pairs of coordinates",
        )
        check(
            not isinstance(self.position, Relative | Sinusoidal) or self.d_model % 2 == 0,
            f"model.d_model={self.d_model} must be even: the positions use as many sines as "
            "cosines",
        )
        check(
            self.num_layers % len(self.attention.windows) == 0,
            f"model.num_layers={self.num_layers} must be a multiple of the "
            f"{len(self.attention.windows)} entries of model.attention.windows",
        )
        check(
            0 <= self.dropout_rate < 1,
            f"model.dropout_rate={self.dropout_rate} must be in [0, 1)",
        )
        others = (self.layout, self.embedding_dropout, self.attention.windows)
        match self.stack:
            case Decoder():
                fits = not isinstance(self.position, Bucketed)
            case Encoder():
                fits = isinstance(self.position, Learned)
                fits = fits and others == ("post_norm", "vectors", (None,))
                fits = fits and self.feed_forward.kind in ("gelu", "gelu_erf")
            case EncoderDecoder():
                fits = isinstance(self.position, Sinusoidal | Bucketed)
                fits = fits and self.layout != "parallel" and others[1:] == ("vectors", (None,))
            case _:
                assert_never(self.stack)
        check(
            fits,
            f"model.stack={self.stack} does not go with model.position={self.position} and "
            f"(layout, embedding_dropout, windows)={others}; the zoo's encoders show what does",
        )

    @property
    def max_length(self) -> int | None:
        """Length of the longest sequence that the model can read, in tokens; None: any length.

        Learned positions end at `context_length`; rotary and relative positions have no end.
        """
        return self.context_length if isinstance(self.position, Learned) else None
