"""The number of parameters of a model, from its config alone.

This needs no JAX, so counting a hundred sizes takes no time. `models.model.num_params` counts
the arrays themselves; the tests hold the two equal.
"""

from typing import assert_never

from models.config import Bias, Bucketed, FeedForwardKind, LayerNorm, Learned, ModelConfig, Relative
from models.encoders.stacks import Decoder, Encoder, EncoderDecoder


def num_up_matrices(kind: FeedForwardKind) -> int:
    """Return the number of [D, F] matrices of a feed-forward layer; it has one [F, D] matrix."""
    match kind:
        case "swiglu" | "geglu":
            return 2
        case "gelu" | "gelu_erf" | "relu":
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
            norms_of_layer, final_norm = 2, 0
        case "pre_norm":
            norms_of_layer, final_norm = 2, 1
        case "parallel":
            norms_of_layer, final_norm = 1, 1
        case _:
            assert_never(model.layout)
    num_norms = norms_of_layer * num_layers + final_norm
    num_stacks, num_cross, num_segments, heads = 1, 0, 0, ()
    match model.stack:
        case Decoder():
            pass
        case Encoder(num_segments=num_segments, heads=heads):
            num_norms += 1  # of the embedding
        case EncoderDecoder(num_encoder_layers=num_encoder_layers):
            num_stacks, num_cross = 2, num_layers
            num_norms += norms_of_layer * num_encoder_layers + final_norm + num_cross
            num_layers += num_encoder_layers
        case _:
            assert_never(model.stack)
    bucketed = model.position if isinstance(model.position, Bucketed) else None
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
        "segment embedding": num_segments * d,
        "attention": num_layers * attention,
        "attention to the encoder": num_cross * attention,
        "bucketed positions": num_stacks * bucketed.num_buckets * a.num_heads if bucketed else 0,
        "relative positions": num_layers * (d + 2) * query_width if relative else 0,
        "feed-forward": num_layers * feed_forward,
        "norms": num_norms * norm,
        "output matrix": 0 if model.tie_embeddings else table,
        "logit bias": bias("logits", model.vocab_size),
        "masked-token head": d * d + d + norm if "masked_tokens" in heads else 0,
        "next-sentence head": d * d + d + 2 * d + 2 if "next_sentence" in heads else 0,
    }
    return {part: count for part, count in parts.items() if count}
