"""What a paper chose, as plain data. Standard library only.

`ModelConfig` holds everything that changes the function or the shapes of the parameters;
`Execution` holds what changes only how fast, and in how much memory, that function is computed.
A choice is a type or a word, never a flag; `models/` turns each one into code in a single `match`.
"""

from dataclasses import dataclass, replace
from typing import Literal


class ConfigError(Exception):
    """A value that breaks a rule. The message names the field, the value, the rule and the remedy."""


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
    """How Llama 3.1 reads texts longer than those it was first trained on (Grattafiori et al. 2024,
    and its released code): slow pairs turn `factor` times slower, fast ones as before."""

    factor: float
    slow_turns: float = 1.0
    """A pair that turns less often than this over `original_length` is slow."""
    fast_turns: float = 4.0
    """One that turns more often is fast; between them the two are blended."""
    original_length: int
    """The context of the first training, in tokens."""

    def __post_init__(self):
        check(self.factor > 0 and 0 < self.slow_turns < self.fast_turns,
              f"model.position.slowed has factor={self.factor}, slow_turns={self.slow_turns} and "
              f"fast_turns={self.fast_turns}; all must be above zero, and the last the "
              "largest of the two turns")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Rotary:
    """Queries and keys rotated by an angle proportional to their position (Su et al. 2021)."""

    theta: float = 10_000.0
    """Pair i of H/2 turns by theta^(-2i/H) radians per position."""
    slowed: SlowedRotation | None = None
    """None: every pair turns so."""


@dataclass(frozen=True, kw_only=True)
class Relative:
    """Scores that know how far back a key lies (Transformer-XL, Dai et al. 2019): sinusoids of the
    distance through a projection per layer, and two trained vectors u and v."""


# --- initialisation --------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Normal:
    """Every matrix from N(0, std)."""

    std: float
    position_std: float | None = None
    """Standard deviation of learned positions; None: the same as `std`."""
    residual: Literal["plain", "scaled_by_depth"] = "plain"
    """`scaled_by_depth`: the two projections that write to the residual stream are drawn with
    std / sqrt(2 num_layers) (Radford et al. 2019, section 2.3)."""


@dataclass(frozen=True, kw_only=True)
class FanIn:
    """Kernels from N(0, 1/sqrt(fan_in)), embeddings from N(0, embedding_std) (PaLM, section 5)."""

    embedding_std: float = 1.0


# --- the two halves of a block ---------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Attention:
    """How many heads look back, how wide each is, and how far they look."""

    num_heads: int
    """Query heads, N."""
    num_kv_heads: int
    """Key and value heads, K: num_heads is multi-head, 1 is multi-query, between is grouped-query."""
    head_dim: int
    """Width of one head, H."""
    windows: tuple[int | None, ...] = (None,)
    """Tokens that a layer's query sees, itself included; None: all before it. The tuple repeats over
    the layers: (None, 256) alternates dense layers with layers that see a band of 256."""

    def __post_init__(self):
        check(self.num_heads > 0 and self.head_dim > 0,
              f"model.attention has num_heads={self.num_heads} and head_dim={self.head_dim}; both "
              "must be above zero")  # fmt: skip
        check(self.num_kv_heads > 0 and self.num_heads % self.num_kv_heads == 0,
              f"model.attention.num_kv_heads={self.num_kv_heads} must divide "
              f"num_heads={self.num_heads}; write 1 for multi-query or {self.num_heads} for "
              "multi-head attention")  # fmt: skip
        check(len(self.windows) > 0 and all(w is None or w > 0 for w in self.windows),
              f"model.attention.windows={self.windows} must hold at least one entry, each None or "
              "above zero; (None,) is dense attention in every layer")  # fmt: skip


FeedForwardKind = Literal["gelu", "gelu_erf", "swiglu"]
Layout = Literal["post_norm", "pre_norm", "parallel"]


@dataclass(frozen=True, kw_only=True)
class FeedForward:
    """The two or three matrices that every token passes through alone."""

    d_ff: int
    """Inner width, F."""
    kind: FeedForwardKind
    """`gelu`: GELU(xW1)W2 with the tanh form, `gelu_erf` with the exact one; `swiglu`:
    (Swish(xW) * xV)W2, three matrices."""

    def __post_init__(self):
        check(self.d_ff > 0, f"model.feed_forward.d_ff={self.d_ff} must be above zero")


Bias = Literal["qkv", "attention_output", "feed_forward", "norm", "logits"]
"""A place where a paper may add a trained bias."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """One transformer language model: exactly what its paper fixes about the function."""

    vocab_size: int
    """Token ids that the model knows, V."""
    context_length: int
    """The longest sequence that the model was made for, in tokens."""
    num_layers: int
    """Blocks, L."""
    d_model: int
    """Width of the residual stream, D."""
    attention: Attention
    feed_forward: FeedForward
    norm: LayerNorm | RMSNorm
    position: Learned | Rotary | Relative
    layout: Layout
    """The order of norm, attention and feed-forward in a block; drawn in models/transformer.py."""
    biases: tuple[Bias, ...]
    """Where biases stand; () is none anywhere."""
    tie_embeddings: bool
    """The output matrix is the transposed input embedding."""
    logit_scale: Literal["one", "inverse_sqrt_d_model"] = "one"
    """What the logits are multiplied with."""
    init: Normal | FanIn
    dropout_rate: float = 0.0
    """On the embedding, the attention weights and what each sub-block adds to the residual."""

    def __post_init__(self):
        for field in ("vocab_size", "context_length", "num_layers", "d_model"):
            value = getattr(self, field)
            check(value > 0, f"model.{field}={value} must be above zero; "
                  f"write --model.{field.replace('_', '-')}=1 or more")  # fmt: skip
        check(not isinstance(self.position, Rotary) or self.attention.head_dim % 2 == 0,
              f"model.attention.head_dim={self.attention.head_dim} must be even: rotary positions "
              "turn pairs of coordinates")  # fmt: skip
        check(not isinstance(self.position, Relative) or self.d_model % 2 == 0,
              f"model.d_model={self.d_model} must be even: relative positions are given by as many "
              "sines as cosines")  # fmt: skip
        check(self.num_layers % len(self.attention.windows) == 0,
              f"model.num_layers={self.num_layers} must be a multiple of the "
              f"{len(self.attention.windows)} entries of model.attention.windows")  # fmt: skip
        check(0 <= self.dropout_rate < 1,
              f"model.dropout_rate={self.dropout_rate} must lie in [0, 1)")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Execution:
    """How the function of a `ModelConfig` is computed: it changes speed and memory, not the model."""

    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of activations and matrix products; parameters, norms, softmax and loss stay float32.
    auto: bfloat16 on accelerators, float32 on a CPU."""
    remat: Literal["none", "dots", "full"] = "none"
    """What the backward pass recomputes: nothing, all but matrix products, or whole layers."""
    unroll: int = 1
    """Layers per iteration of the scan over layers. More compiles longer and may run faster."""

    def __post_init__(self):
        check(self.unroll > 0, f"execution.unroll={self.unroll} must be above zero")

    def resolve(self, *, accelerated: bool) -> "Execution":
        """The same with `auto` replaced by what it means on these devices."""
        if self.dtype != "auto":
            return self
        return replace(self, dtype="bfloat16" if accelerated else "float32")
