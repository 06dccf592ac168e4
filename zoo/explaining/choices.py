"""The choices of one model in words; explanations.py says what each of them does."""

from dataclasses import dataclass
from typing import assert_never

from models import config as c
from zoo.explaining.explanations import EXPLANATIONS, Explanation


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A model's choice on one axis, such as its norm."""

    kind: str
    """Key of EXPLANATIONS."""
    detail: str = ""
    """Values that belong to the choice, such as a base or a rate; no sizes."""
    words: str = ""
    """Phrase that includes the sizes; empty: the name alone."""
    is_minor: bool = False
    """Too ordinary for a short list of choices."""

    @property
    def name(self) -> str:
        """The kind and the detail. Two models have made the same choice if the names are equal."""
        return f"{self.kind} {self.detail}".strip()

    @property
    def phrase(self) -> str:
        """The choice in a few words, with the sizes if it has any."""
        return self.words or self.name

    @property
    def explanation(self) -> Explanation:
        """The entry of EXPLANATIONS for this kind of choice."""
        return EXPLANATIONS[self.kind]

    @property
    def full_text(self) -> str:
        """Three lines: the phrase, the effect, and the equation with its source."""
        phrase = self.phrase.removesuffix(f", {self.explanation.equation}")
        return f"{phrase}\n{self.explanation}"


def choices(model: c.ModelConfig) -> list[Choice]:
    """Return one choice per axis, in the order of AXES."""
    return [
        _stack(model),
        _position(model),
        _layout(model.layout),
        _norm(model),
        _heads(model.attention),
        _windows(model.attention.windows),
        _feed_forward(model.feed_forward),
        _biases(model.biases),
        _output_matrix(model),
        _logits(model),
        _dropout(model),
        _init(model.init),
    ]


def main_choices(model: c.ModelConfig) -> list[Choice]:
    """Return the choices that set the model apart: all but the minor ones."""
    return [choice for choice in choices(model) if not choice.is_minor]


def _stack(model: c.ModelConfig) -> Choice:
    match model.stack:
        case c.Decoder():
            return Choice(kind="a decoder", is_minor=True)
        case c.Encoder(heads=heads):
            predicted = " and ".join(head.replace("_", " ") for head in heads)
            return Choice(kind="an encoder", words=f"an encoder that predicts {predicted}")
        case c.EncoderDecoder(num_encoder_layers=num_layers):
            kind = "an encoder and a decoder"
            return Choice(kind=kind, words=f"{kind} of {num_layers} and {model.num_layers} layers")
        case _:
            assert_never(model.stack)


def _position(model: c.ModelConfig) -> Choice:
    match model.position:
        case c.Learned():
            words = f"{model.context_length:,} learned positions"
            return Choice(kind="learned positions", words=words)
        case c.Rotary(theta=theta, slowed=slowed):
            slow = "" if slowed is None else f", slow pairs {slowed.factor:g} times slower"
            return Choice(kind="rotary positions", detail=f"(base {theta:,.0f}{slow})")
        case c.Relative():
            return Choice(kind="relative positions", detail="(Transformer-XL)")
        case c.Sinusoidal():
            return Choice(kind="sinusoidal positions")
        case c.Bucketed(num_buckets=num_buckets, max_distance=most):
            detail = f"({num_buckets} of distances up to {most})"
            return Choice(kind="buckets of distances", detail=detail)
        case _:
            assert_never(model.position)


def _layout(layout: c.Layout) -> Choice:
    match layout:
        case "post_norm":
            return Choice(kind="post-norm layers")
        case "pre_norm":
            return Choice(kind="pre-norm layers")
        case "parallel":
            kind = "parallel layers"
            return Choice(kind=kind, words=f"{kind}, {EXPLANATIONS[kind].equation}")
        case _:
            assert_never(layout)


def _norm(model: c.ModelConfig) -> Choice:
    match model.norm:
        case c.LayerNorm():
            with_bias = "norm" in model.biases
            return Choice(kind="LayerNorm" if with_bias else "LayerNorm without bias")
        case c.RMSNorm():
            return Choice(kind="RMSNorm")
        case _:
            assert_never(model.norm)


def _heads(attention: c.Attention) -> Choice:
    n, k, h = attention.num_heads, attention.num_kv_heads, attention.head_dim
    if k == n:
        kind, sizes = "multi-head attention", f"{n} heads of {h}"
    elif k == 1:
        kind = "multi-query attention"
        sizes = f"{n} query heads of {h} share one key and value head"
    else:
        kind = "grouped-query attention"
        sizes = f"{n} query heads of {h} share {k} key and value heads"
    return Choice(kind=kind, words=f"{kind}, {sizes}")


def _windows(windows: tuple[int | None, ...]) -> Choice:
    if set(windows) == {None}:
        return Choice(kind="dense in every layer", is_minor=True)
    spans = ["all tokens" if w is None else f"a band of the last {w:,}" for w in windows]
    if None not in windows:
        return Choice(kind="locally banded layers", words=f"layers see {', '.join(spans)}")
    return Choice(
        kind="alternating dense and locally banded layers",
        words=f"layers alternate between {' and '.join(spans)}",
    )


def _feed_forward(feed_forward: c.FeedForward) -> Choice:
    match feed_forward.kind:
        case "gelu":
            kind = "GELU"
        case "gelu_erf":
            kind = "exact GELU"
        case "relu":
            kind = "ReLU"
        case "swiglu":
            kind = "SwiGLU"
        case "geglu":
            kind = "GEGLU"
        case _:
            assert_never(feed_forward.kind)
    return Choice(kind=kind, words=f"{kind} with d_ff {feed_forward.d_ff:,}")


def _biases(biases: tuple[c.Bias, ...]) -> Choice:
    if not biases:
        return Choice(kind="no biases")
    return Choice(kind="biases", detail=f"in {', '.join(biases)}")


def _output_matrix(model: c.ModelConfig) -> Choice:
    tied = model.tie_embeddings
    return Choice(kind="tied input and output embeddings" if tied else "a separate output matrix")


def _logits(model: c.ModelConfig) -> Choice:
    match model.logit_scale:
        case "one":
            return Choice(kind="unscaled logits", is_minor=True)
        case "inverse_sqrt_d_model":
            return Choice(kind="logits / sqrt(d_model)")
        case _:
            assert_never(model.logit_scale)


def _dropout(model: c.ModelConfig) -> Choice:
    if not model.dropout_rate:
        return Choice(kind="no dropout", is_minor=True)
    match model.embedding_dropout:
        case "vectors":
            return Choice(kind="dropout", detail=f"{model.dropout_rate}")
        case "tables":
            return Choice(kind="dropout on embedding tables", detail=f"({model.dropout_rate})")
        case _:
            assert_never(model.embedding_dropout)


def _init(init: c.Normal | c.TruncatedNormal | c.FanIn) -> Choice:
    match init:
        case c.Normal(std=std, position_std=positions, residual=residual):
            kind = "normal, scaled by depth" if residual == "scaled_by_depth" else "normal"
            detail = f"(std {std:.3g}{'' if positions is None else f', positions {positions}'})"
        case c.TruncatedNormal(std=std):
            kind, detail = "truncated normal", f"(std {std:.3g})"
        case c.FanIn(embedding_std=std):
            kind, detail = "by fan-in", f"(embeddings of std {std:g})"
        case _:
            assert_never(init)
    return Choice(kind=kind, detail=detail, is_minor=True)
