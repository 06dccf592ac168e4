"""The floating-point operations (FLOPs) that a model needs.

A multiply-add counts as two. The FLOPs of a run are those of a token times its number of tokens.
"""

from typing import assert_never

from models.config import Bucketed, Learned, ModelConfig, Relative, Rotary, Sinusoidal
from models.encoders.stacks import EncoderDecoder
from models.parameters import attention_matrix_entries, feed_forward_matrix_entries

Count = int | float
"""An exact number, or one as it is printed: 540e9."""


def train_flops_palm(model: ModelConfig, num_params: Count, seq_len: int) -> Count:
    """Return 6N + 12 L N_heads H T, the training FLOPs of one token (PaLM, appendix B).

    6N is for the parameters, the rest for the scores and the weighted sums of values. This is the
    zoo's convention for MFU. To keep MFU comparable between papers, every query is charged all T
    keys, or its layer's window, although the first queries of a sequence see fewer, and
    rematerialisation does not count. Softmax and relative positions are left out. PaLM's N leaves
    out the norm scales, which changes no printed digit.
    """
    keys = _keys_in_all_layers(model, seq_len)
    return 6 * num_params + 12 * model.attention.num_heads * model.attention.head_dim * keys


def train_flops_of_stacks(model: ModelConfig, source_len: int, target_len: int) -> Count:
    """Return the training FLOPs of an encoder and a decoder for one source and its target.

    6N per token for the parameters that read it, as `train_flops_palm` counts them: those of the
    encoder's layers for the source, all others for the target; but the products that make the
    decoder's keys and values of the source belong to the source. 12 H per pair of tokens whose
    vectors of all heads together have width H.
    """
    assert isinstance(model.stack, EncoderDecoder)
    num_encoder_layers, width = (
        model.stack.num_encoder_layers,
        model.attention.num_heads * model.attention.head_dim,
    )
    layer = attention_matrix_entries(model) + feed_forward_matrix_entries(model)
    of_source = 2 * model.d_model * model.attention.num_kv_heads * model.attention.head_dim
    of_target = attention_matrix_entries(model) - of_source
    encoder = num_encoder_layers * layer + model.num_layers * of_source
    decoder = model.num_layers * (layer + of_target) + model.vocab_size * model.d_model
    pairs = num_encoder_layers * source_len**2
    pairs += model.num_layers * target_len * (target_len + source_len)
    return 6 * (encoder * source_len + decoder * target_len) + 12 * width * pairs


def forward_flops_per_token(model: ModelConfig, num_keys: int) -> int:
    """Return the FLOPs of decoding one token that sees `num_keys` tokens, itself included.

    Exact for matrix products: 2 per entry of a matrix (the output matrix included), and 4 N H per
    key that a layer attends to, at most its window. Relative positions add the 2 N H of a score by
    distance; the projections of the distances depend on no token and count as cached. Everything
    that is not a matrix product is left out: lookups, biases, norms, softmax, rotations.
    """
    match model.position:
        case Relative():
            per_key = 6
        case Learned() | Rotary() | Sinusoidal() | Bucketed():
            per_key = 4
        case _:
            assert_never(model.position)
    width = model.attention.num_heads * model.attention.head_dim
    keys = _keys_in_all_layers(model, num_keys)
    return 2 * _multiplied_entries(model) + per_key * width * keys


def kv_cache_bytes_per_token(model: ModelConfig, seq_len: int, bytes_per_value: int = 2) -> float:
    """Return the cache bytes per token of a sequence of `seq_len` tokens, on average.

    A layer keeps 2 K H values for each of its keys; a layer with a window keeps only its last
    window. Relative positions need no more: what they add to the keys depends on the distance
    alone. `bytes_per_value` is 2 in bfloat16.
    """
    values = 2 * model.attention.num_kv_heads * model.attention.head_dim
    return values * bytes_per_value * _keys_in_all_layers(model, seq_len) / seq_len


def decoding_intensity(
    model: ModelConfig,
    batch_size: int,
    num_keys: int,
    bytes_per_value: int = 2,
    bytes_per_weight: int | None = None,
) -> float:
    """Return the FLOPs per byte read in a step that decodes one token per row.

    Each token sees `num_keys` tokens. A step reads the visible keys and values of each row. Once
    for the whole batch, it reads every matrix and, with relative positions, the cached projections
    of the distances. A chip can do some hundreds of bfloat16 FLOPs per byte that it reads; below
    that, decoding waits for memory.

    Args:
      bytes_per_value: of keys, values and distances; 2 in bfloat16.
      bytes_per_weight: of the matrices' entries; None: as many.
    """
    a, keys = model.attention, _keys_in_all_layers(model, num_keys)
    distances = keys * a.num_heads * a.head_dim if isinstance(model.position, Relative) else 0
    cache = 2 * a.num_kv_heads * a.head_dim * keys
    of_weights = (bytes_per_weight or bytes_per_value) * _multiplied_entries(model)
    num_bytes = of_weights + bytes_per_value * (distances + batch_size * cache)
    return batch_size * forward_flops_per_token(model, num_keys) / num_bytes


def _keys_in_all_layers(model: ModelConfig, num_keys: int) -> int:
    """Sum over all layers the keys that a query sees when it comes after `num_keys` - 1 others."""
    windows = model.attention.windows
    visible = sum(num_keys if window is None else min(window, num_keys) for window in windows)
    return model.num_layers // len(windows) * visible


def _multiplied_entries(model: ModelConfig) -> int:
    """Count the entries of all matrices that multiply a decoded token, the output matrix too."""
    one_layer = attention_matrix_entries(model) + feed_forward_matrix_entries(model)
    return model.num_layers * one_layer + model.vocab_size * model.d_model
