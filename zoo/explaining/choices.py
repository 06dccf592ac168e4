"""A model's choices in words; zoo/explaining/explanations.py says what each of them does."""

from dataclasses import dataclass
from typing import assert_never

from models import config as c
from zoo.explaining.explanations import EXPLANATIONS, Explanation


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One model's choice."""

    kind: str
    """Its key in EXPLANATIONS."""
    detail: str = ""
    """What is also chosen, such as a base or a rate; no sizes."""
    words: str = ""
    """A phrase with the sizes; empty: just the name."""
    goes_without_saying: bool = False
    """Too plain for a short description."""

    @property
    def name(self) -> str:
        """Two models have made the same choice if its name is the same."""
        return f"{self.kind} {self.detail}".strip()

    @property
    def explanation(self) -> Explanation:
        return EXPLANATIONS[self.kind]


def choices(model: c.ModelConfig) -> list[Choice]:
    """One choice per axis, in the order of AXES."""
    return [
        _position(model),
        _layout(model.layout),
        _norm(model),
        _heads(model.attention),
        _span(model.attention.windows),
        _feed_forward(model.feed_forward),
        Choice(kind="biases", detail=f"in {', '.join(model.biases)}")
        if model.biases
        else Choice(kind="no biases"),
        Choice(kind="tied input and output embeddings")
        if model.tie_embeddings
        else Choice(kind="an output matrix of its own"),
        _logits(model),
        Choice(kind="dropout", detail=f"{model.dropout_rate}")
        if model.dropout_rate
        else Choice(kind="no dropout", goes_without_saying=True),
        _init(model.init),
    ]


def describe_choices(model: c.ModelConfig) -> list[str]:
    """One phrase per choice that does not go without saying."""
    said = [choice for choice in choices(model) if not choice.goes_without_saying]
    return [choice.words or choice.name for choice in said]


def explain(choice: Choice) -> str:
    """Three lines: what was chosen, what it does, and its equation with its source."""
    chosen = (choice.words or choice.name).removesuffix(f", {choice.explanation.equation}")
    return f"{chosen}\n{choice.explanation}"


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


def _span(windows: tuple[int | None, ...]) -> Choice:
    if set(windows) == {None}:
        return Choice(kind="dense in every layer", goes_without_saying=True)
    sights = ["all tokens" if w is None else f"a band of the last {w:,}" for w in windows]
    if None not in windows:
        return Choice(kind="locally banded layers", words=f"layers see {', '.join(sights)}")
    return Choice(
        kind="dense and locally banded layers in turn",
        words=f"layers in turn see {', '.join(sights)}",
    )


def _feed_forward(feed_forward: c.FeedForward) -> Choice:
    match feed_forward.kind:
        case "gelu":
            kind = "GELU"
        case "gelu_erf":
            kind = "exact GELU"
        case "swiglu":
            kind = "SwiGLU"
        case _:
            assert_never(feed_forward.kind)
    return Choice(kind=kind, words=f"{kind} with d_ff {feed_forward.d_ff:,}")


def _logits(model: c.ModelConfig) -> Choice:
    match model.logit_scale:
        case "one":
            return Choice(kind="logits as they are", goes_without_saying=True)
        case "inverse_sqrt_d_model":
            return Choice(kind="logits / sqrt(d_model)")
        case _:
            assert_never(model.logit_scale)


def _init(init: c.Normal | c.FanIn) -> Choice:
    match init:
        case c.Normal(std=std, position_std=positions, residual=residual):
            kind = "normal, scaled by depth" if residual == "scaled_by_depth" else "normal"
            detail = f"(std {std:.3g}{'' if positions is None else f', positions {positions}'})"
        case c.FanIn(embedding_std=std):
            kind, detail = "by fan-in", f"(embeddings of std {std:g})"
        case _:
            assert_never(init)
    return Choice(kind=kind, detail=detail, goes_without_saying=True)
