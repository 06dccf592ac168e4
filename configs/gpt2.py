"""GPT-2: Language Models are Unsupervised Multitask Learners (Radford et al. 2019).

Sizes from Table 2, choices from section 2.3 and the released code (openai/gpt-2, src/model.py).
The names are the released counts: the paper's 117M, 345M, 762M and 1542M were, in OpenAI's words,
wrong due to an error. The paper publishes no recipe beyond batch 512 x 1024; the one here is GPT-3's.

    python -m zoo.train --model=gpt2_124m
"""

import math

from models.config import Attention, FeedForward, LayerNorm, Learned, ModelConfig, Normal
from zoo.config import AdamW, Experiment, WarmupCosine


def _gpt2(*, num_layers: int, d_model: int, num_heads: int) -> ModelConfig:
    return ModelConfig(
        vocab_size=50_257,
        context_length=1024,
        num_layers=num_layers,
        d_model=d_model,
        attention=Attention(num_heads=num_heads, num_kv_heads=num_heads, head_dim=64),
        feed_forward=FeedForward(d_ff=4 * d_model, kind="gelu"),
        norm=LayerNorm(eps=1e-5),
        position=Learned(),
        layout="pre_norm",
        biases=("qkv", "attention_output", "feed_forward", "norm"),
        tie_embeddings=True,
        # 1/sqrt(N) with N = 2 num_layers is the usual reading of section 2.3; the released code has
        # no such scaling, and draws positions with 0.01.
        init=Normal(std=0.02, position_std=0.01, residual="scaled_by_depth"),
        dropout_rate=0.0,  # not published for GPT-2
    )


def _train(model: ModelConfig, *, peak_lr: float) -> Experiment:
    batch_tokens = 512 * 1024
    return Experiment(
        model=model,
        # not published: optimizer, schedule, decay and clipping; GPT-3's values
        optimizer=AdamW(schedule=WarmupCosine(peak_lr=peak_lr, warmup_steps=700)),
        num_steps=math.ceil(300e9 / batch_tokens),  # not published: GPT-3's 300B tokens
        batch_tokens=batch_tokens,
        seq_len=1024,
    )


# fmt: off
FAMILY = {
    "gpt2_124m":  _train(_gpt2(num_layers=12, d_model=768,  num_heads=12), peak_lr=6.0e-4),
    "gpt2_355m":  _train(_gpt2(num_layers=24, d_model=1024, num_heads=16), peak_lr=3.0e-4),
    "gpt2_774m":  _train(_gpt2(num_layers=36, d_model=1280, num_heads=20), peak_lr=2.5e-4),
    "gpt2_1558m": _train(_gpt2(num_layers=48, d_model=1600, num_heads=25), peak_lr=2.0e-4),
}
# fmt: on

REPORTED_PARAMS = {"gpt2_124m": 124e6, "gpt2_355m": 355e6, "gpt2_774m": 774e6, "gpt2_1558m": 1558e6}
"""README of openai/gpt-2."""
