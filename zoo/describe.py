"""A model's choices in words."""

from typing import assert_never

from models import config as c


def describe_choices(model: c.ModelConfig) -> list[str]:
    """One phrase per choice, in the order in which a token meets them."""
    return [
        _positions(model),
        {
            "post_norm": "post-norm layers",
            "pre_norm": "pre-norm layers",
            "parallel": "parallel layers, x + A(N(x)) + F(N(x))",
        }[model.layout],
        _norm(model),
        _attention(model.attention),
        {"gelu": "GELU", "gelu_erf": "exact GELU", "swiglu": "SwiGLU"}[model.feed_forward.kind]
        + f" with d_ff {model.feed_forward.d_ff:,}",
        f"biases in {', '.join(model.biases)}" if model.biases else "no biases",
        "tied input and output embeddings" if model.tie_embeddings else "an output matrix",
        *(["logits / sqrt(d_model)"] if model.logit_scale == "inverse_sqrt_d_model" else []),
        *([f"dropout {model.dropout_rate}"] if model.dropout_rate else []),
    ]


def _positions(model: c.ModelConfig) -> str:
    match model.position:
        case c.Learned():
            return f"{model.context_length:,} learned positions"
        case c.Rotary(theta=theta):
            return f"rotary positions (base {theta:,.0f})"
        case _:
            assert_never(model.position)


def _norm(model: c.ModelConfig) -> str:
    match model.norm:
        case c.LayerNorm():
            return "LayerNorm" if "norm" in model.biases else "LayerNorm without bias"
        case c.RMSNorm():
            return "RMSNorm"
        case _:
            assert_never(model.norm)


def _attention(attention: c.Attention) -> str:
    n, k, h = attention.num_heads, attention.num_kv_heads, attention.head_dim
    if k == n:
        return f"multi-head attention, {n} heads of {h}"
    if k == 1:
        return f"multi-query attention, {n} query heads of {h} share one key and value head"
    return f"grouped-query attention, {n} query heads of {h} share {k} key and value heads"
