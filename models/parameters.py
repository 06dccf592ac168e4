"""Where a model's parameters are, from its config alone: no JAX, so that a hundred sizes take no time.

`models.transformer.num_params` counts the arrays themselves; the tests hold the two equal.
"""

from typing import assert_never

from models.config import LayerNorm, Learned, ModelConfig, Relative


def params_by_part(model: ModelConfig) -> dict[str, int]:
    """Exact numbers of parameters; a part that a model lacks is left out."""
    d, f, num_layers, a = model.d_model, model.feed_forward.d_ff, model.num_layers, model.attention
    query_width, kv_width = a.num_heads * a.head_dim, a.num_kv_heads * a.head_dim

    def bias(place: str, width: int) -> int:
        return width if place in model.biases else 0

    match model.layout:
        case "post_norm":
            num_norms = 2 * num_layers
        case "pre_norm":
            num_norms = 2 * num_layers + 1
        case "parallel":
            num_norms = num_layers + 1
        case _:
            assert_never(model.layout)
    match model.feed_forward.kind:
        case "swiglu":
            num_up = 2
        case "gelu" | "gelu_erf":
            num_up = 1
        case _:
            assert_never(model.feed_forward.kind)
    table = model.vocab_size * d
    norm = d + (bias("norm", d) if isinstance(model.norm, LayerNorm) else 0)
    attention = 2 * d * (query_width + kv_width)
    attention += bias("qkv", query_width + 2 * kv_width) + bias("attention_output", d)
    feed_forward = (num_up + 1) * d * f + bias("feed_forward", num_up * f + d)
    relative = isinstance(model.position, Relative)
    parts = {
        "token embedding": table,
        "position embedding": model.context_length * d
        if isinstance(model.position, Learned)
        else 0,
        "attention": num_layers * attention,
        "relative positions": num_layers * (d + 2) * query_width if relative else 0,
        "feed-forward": num_layers * feed_forward,
        "norms": num_norms * norm,
        "output matrix": 0 if model.tie_embeddings else table,
        "logit bias": bias("logits", model.vocab_size),
    }
    return {part: count for part, count in parts.items() if count}
