"""Tiny models with an encoder, and their parameters as numbers."""

import numpy as np
from flax import nnx

from models import config as c

BERT = c.ModelConfig(
    vocab_size=53,
    context_length=23,
    num_layers=3,
    d_model=20,
    attention=c.Attention(num_heads=5, num_kv_heads=5, head_dim=4),
    feed_forward=c.FeedForward(d_ff=29, kind="gelu_erf"),
    norm=c.LayerNorm(eps=1e-12),
    position=c.Learned(),
    layout="post_norm",
    biases=("qkv", "attention_output", "feed_forward", "norm", "logits"),
    tie_embeddings=True,
    init=c.TruncatedNormal(std=0.02),
    stack=c.Encoder(),
)
TRANSFORMER = c.ModelConfig(
    vocab_size=53,
    context_length=23,
    num_layers=3,
    d_model=20,
    attention=c.Attention(num_heads=5, num_kv_heads=5, head_dim=4),
    feed_forward=c.FeedForward(d_ff=29, kind="relu"),
    norm=c.LayerNorm(eps=1e-6),
    position=c.Sinusoidal(),
    layout="post_norm",
    biases=("feed_forward", "norm"),
    tie_embeddings=True,
    embedding_scale="sqrt_d_model",
    init=c.FanIn(),
    stack=c.EncoderDecoder(num_encoder_layers=2),
)
T5 = c.ModelConfig(
    vocab_size=53,
    context_length=23,
    num_layers=3,
    d_model=20,
    attention=c.Attention(num_heads=5, num_kv_heads=5, head_dim=7),
    feed_forward=c.FeedForward(d_ff=29, kind="geglu"),
    norm=c.RMSNorm(eps=1e-6),
    position=c.Bucketed(num_buckets=8, max_distance=12),
    layout="pre_norm",
    biases=(),
    tie_embeddings=False,
    init=c.FanIn(),
    stack=c.EncoderDecoder(num_encoder_layers=2),
)
MODELS = {"bert": BERT, "transformer": TRANSFORMER, "t5": T5}


def numbers(model: nnx.Module) -> dict[str, np.ndarray]:
    """Return the parameters by dotted path; the layers of a stack are along the first axis."""
    flat = nnx.to_flat_state(nnx.state(model, nnx.Param))
    return {".".join(map(str, path)): np.asarray(param.get_value()) for path, param in flat}
