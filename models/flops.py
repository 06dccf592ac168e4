"""How many floating-point operations (FLOPs) a model needs.

Papers count in three ways, named here by the paper; each counts a multiply-add as two. A run's FLOPs
are those of a token times its tokens.
"""

from typing import assert_never

from models.config import Learned, ModelConfig, Relative, Rotary


def train_flops_6n(num_params: float) -> float:
    """6N a token: 2 FLOPs per parameter forward, 4 backward (GPT-3, Table D.1; Chinchilla, "6ND").

    N counts every parameter, the embedding included. Leaves out the attention over other tokens.
    """
    return 6 * num_params


def train_flops_palm(model: ModelConfig, num_params: float, seq_len: int) -> float:
    """6N + 12 L N_heads H T a token: 6N, and the scores and their sums of values (PaLM, appendix B).

    The zoo's convention for MFU. Every query is charged all T keys, or a band's width: causality is
    not halved, nor a band's shorter start, and rematerialisation does not count, so that MFU is
    comparable between papers. Leaves out softmax and relative positions. PaLM's N leaves out the norm
    scales, which does not change a printed digit.
    """
    keys = _keys_of_all_layers(model, seq_len)
    return 6 * num_params + 12 * model.attention.num_heads * model.attention.head_dim * keys


def train_flops_chinchilla(model: ModelConfig, seq_len: int) -> float:
    """Per token, by Chinchilla's Appendix F as its text states it; backward is twice forward.

    Forward: 2 V D for the embedding and again for the logits; in every layer, beside the products
    with its matrices, 2 T N H for the scores, 3 N T for the softmax and 2 T N H for the values.
    Charges the embedding, a lookup, as a product. Leaves out biases, norms, relative positions and
    causality. More general than the paper in key-value heads, SwiGLU and bands (a band's width for T).
    """
    return train_flops_chinchilla_layers(model, seq_len) + 12 * model.vocab_size * model.d_model


def train_flops_chinchilla_layers(model: ModelConfig, seq_len: int) -> float:
    """Appendix F without embedding and logits: only this gives the ratios to 6N of Table A4."""
    num_heads, head_dim = model.attention.num_heads, model.attention.head_dim
    keys = _keys_of_all_layers(model, seq_len)
    attended = (2 * head_dim + 3 + 2 * head_dim) * num_heads * keys
    return 3 * (2 * model.num_layers * _matrix_entries(model) + attended)


def forward_flops_per_token(model: ModelConfig, num_keys: int) -> int:
    """What decoding one token takes that sees `num_keys` tokens, itself included; exact for products.

    2 per matrix entry, the logits' among them, and 4 N H per key that a layer attends to: a banded
    layer sees no more than its band. Relative positions add the 2 N H of a score by distance; the
    projections of the distances depend on no token and are taken as kept. Leaves out what is no
    matrix product: lookups, biases, norms, softmax, rotations.
    """
    match model.position:
        case Relative():
            per_key = 6
        case Learned() | Rotary():
            per_key = 4
        case _:
            assert_never(model.position)
    width = model.attention.num_heads * model.attention.head_dim
    keys = _keys_of_all_layers(model, num_keys)
    return 2 * _multiplied_entries(model) + per_key * width * keys


def kv_cache_bytes_per_token(model: ModelConfig, seq_len: int, bytes_per_value: int = 2) -> float:
    """What a sequence of `seq_len` tokens must keep of each, on average: 2 L K H values.

    A banded layer needs only its last window. Relative positions keep nothing more: what they add to
    keys depends on the distance alone. `bytes_per_value` is 2 in bfloat16.
    """
    values = 2 * model.attention.num_kv_heads * model.attention.head_dim
    return values * bytes_per_value * _keys_of_all_layers(model, seq_len) / seq_len


def decoding_intensity(
    model: ModelConfig, batch_size: int, num_keys: int, bytes_per_value: int = 2
) -> float:
    """FLOPs per byte read, where a batch decodes one token each that sees `num_keys` tokens.

    A step reads every matrix once for the whole batch, each row's keys and values in sight, and with
    relative positions the kept projections of the distances, once. A chip can do some hundreds of
    bfloat16 FLOPs for each byte that it reads: below that, decoding waits for its memory.
    """
    a, keys = model.attention, _keys_of_all_layers(model, num_keys)
    distances = keys * a.num_heads * a.head_dim if isinstance(model.position, Relative) else 0
    cache = 2 * a.num_kv_heads * a.head_dim * keys
    values = _multiplied_entries(model) + distances + batch_size * cache
    return batch_size * forward_flops_per_token(model, num_keys) / (bytes_per_value * values)


def _keys_of_all_layers(model: ModelConfig, num_keys: int) -> int:
    """Keys that one query sees in all layers together, where `num_keys` are there."""
    windows = model.attention.windows
    seen = sum(num_keys if window is None else min(window, num_keys) for window in windows)
    return model.num_layers // len(windows) * seen


def _multiplied_entries(model: ModelConfig) -> int:
    """Of all matrices that a token to decode is multiplied with, the logits' among them."""
    return model.num_layers * _matrix_entries(model) + model.vocab_size * model.d_model


def _matrix_entries(model: ModelConfig) -> int:
    """Of the matrices of one layer that every token is multiplied with."""
    d, a = model.d_model, model.attention
    match model.feed_forward.kind:
        case "swiglu":
            num_matrices = 3
        case "gelu" | "gelu_erf":
            num_matrices = 2
        case _:
            assert_never(model.feed_forward.kind)
    attention = 2 * d * (a.num_heads + a.num_kv_heads) * a.head_dim
    return attention + num_matrices * d * model.feed_forward.d_ff
