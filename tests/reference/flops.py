"""Training FLOPs per token as GPT-3 and Chinchilla count them, from their papers' equations.

Each counts a multiply-add as two. They are evidence for the papers' tables; the zoo counts as PaLM
does, in models/flops.py, with which this file shares no code.
"""

from models.config import ModelConfig


def train_flops_6n(num_params: float) -> float:
    """6N: 2 FLOPs per parameter forward, 4 backward (GPT-3, Table D.1; Chinchilla, "6ND").

    N counts every parameter, the embedding included. Leaves out the attention over other tokens.
    """
    return 6 * num_params


def train_flops_chinchilla(model: ModelConfig, seq_len: int) -> float:
    """Chinchilla's Appendix F as its text states it; backward is twice forward.

    Forward: 2 V D for the embedding and again for the logits; in every layer, beside the products
    with its matrices, 2 T N H for the scores, 3 N T for the softmax and 2 T N H for the values.
    Charges the embedding, a lookup, as a product. Leaves out biases, norms, relative positions and
    causality. A layer with a window is charged the window for T, which the paper does not have.
    """
    return train_flops_chinchilla_layers(model, seq_len) + 12 * model.vocab_size * model.d_model


def train_flops_chinchilla_layers(model: ModelConfig, seq_len: int) -> float:
    """Appendix F without embedding and logits: only this gives the ratios to 6N of Table A4."""
    a, d, f = model.attention, model.d_model, model.feed_forward.d_ff
    assert a.num_kv_heads == a.num_heads and model.feed_forward.kind == "gelu"
    width = a.num_heads * a.head_dim
    forward = 0
    for layer in range(model.num_layers):
        keys = min(a.windows[layer % len(a.windows)] or seq_len, seq_len)
        forward += 2 * (4 * d * width + 2 * d * f)
        forward += 2 * width * keys + 3 * a.num_heads * keys + 2 * width * keys
    return 3 * forward
