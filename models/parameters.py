"""The number of parameters of a model, from its config alone.

This needs no JAX, so counting a hundred sizes takes no time. `models.transformer.num_params` counts
the arrays themselves; the tests hold the two equal.
"""

from typing import assert_never

from models.config import Bias, FeedForwardKind, LayerNorm, Learned, ModelConfig, Relative


def num_up_matrices(kind: FeedForwardKind) -> int:
    """Return the number of [D, F] matrices of a feed-forward layer; it has one [F, D] matrix."""
    match kind:
        case "swiglu":
            return 2
        case "gelu" | "gelu_erf":
            return 1
        case _:
            assert_never(kind)


def attention_matrix_entries(model: ModelConfig) -> int:
    """Return the entries of the query, key, value and output matrices of one layer."""
    a = model.attention
    return 2 * model.d_model * (a.num_heads + a.num_kv_heads) * a.head_dim


def feed_forward_matrix_entries(model: ModelConfig) -> int:
    """Return the entries of the feed-forward matrices of one layer."""
    num_matrices = num_up_matrices(model.feed_forward.kind) + 1
    return num_matrices * model.d_model * model.feed_forward.d_ff


def params_by_part(model: ModelConfig) -> dict[str, int]:
    """Return the exact number of parameters of each part that the model has."""
    d, num_layers, a = model.d_model, model.num_layers, model.attention
    query_width, kv_width = a.num_heads * a.head_dim, a.num_kv_heads * a.head_dim
    up_width = num_up_matrices(model.feed_forward.kind) * model.feed_forward.d_ff

    def bias(name: Bias, width: int) -> int:
        return width if name in model.biases else 0

    match model.layout:
        case "post_norm":
            num_norms = 2 * num_layers
        case "pre_norm":
            num_norms = 2 * num_layers + 1
        case "parallel":
            num_norms = num_layers + 1
        case _:
            assert_never(model.layout)
    table = model.vocab_size * d
    learned = isinstance(model.position, Learned)
    relative = isinstance(model.position, Relative)
    attention_biases = bias("qkv", query_width + 2 * kv_width) + bias("attention_output", d)
    attention = attention_matrix_entries(model) + attention_biases
    feed_forward = feed_forward_matrix_entries(model) + bias("feed_forward", up_width + d)
    norm = d + (bias("norm", d) if isinstance(model.norm, LayerNorm) else 0)
    parts = {
        "token embedding": table,
        "position embedding": model.context_length * d if learned else 0,
        "attention": num_layers * attention,
        "relative positions": num_layers * (d + 2) * query_width if relative else 0,
        "feed-forward": num_layers * feed_forward,
        "norms": num_norms * norm,
        "output matrix": 0 if model.tie_embeddings else table,
        "logit bias": bias("logits", model.vocab_size),
    }
    return {part: count for part, count in parts.items() if count}
