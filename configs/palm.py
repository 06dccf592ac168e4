"""PaLM: Scaling Language Modeling with Pathways (Chowdhery et al. 2022, arXiv 2204.02311).

Sizes from Table 1, choices from section 2, training from section 5, batches from Table 1 and
section 5. Two TPU v4 pods of 3072 chips trained the 540B; `palm_small` takes a few minutes here:

    python -m zoo.train --model=palm_small
"""

from dataclasses import replace

from models.config import Attention, Execution, FanIn, FeedForward, LayerNorm, ModelConfig, Rotary
from zoo.config import Adafactor, Experiment, InverseSquareRoot


def _palm(*, num_layers: int, d_model: int, num_heads: int) -> ModelConfig:
    return ModelConfig(
        vocab_size=256_000,
        context_length=2048,
        num_layers=num_layers,
        d_model=d_model,
        attention=Attention(num_heads=num_heads, num_kv_heads=1, head_dim=256),
        feed_forward=FeedForward(d_ff=4 * d_model, kind="swiglu"),
        norm=LayerNorm(eps=1e-6),  # eps not published: T5X's value
        position=Rotary(
            theta=10_000.0
        ),  # base and rotated share not published: RoPE's, all dimensions
        layout="parallel",
        biases=(),
        tie_embeddings=True,
        logit_scale="inverse_sqrt_d_model",
        init=FanIn(embedding_std=1.0),
    )


def _train(model: ModelConfig, *, batch_size: int, num_tokens: float) -> Experiment:
    """Section 5. The batch grew during the paper's runs; this is its final value, from the start."""
    batch_tokens = batch_size * 2048
    return Experiment(
        model=model,
        optimizer=Adafactor(
            schedule=InverseSquareRoot(peak_lr=1e-2, constant_steps=10_000),
            beta1=0.9,
            decay_exponent=0.8,
            weight_decay_exponent=2.0,
            clip_norm=1.0,
        ),
        num_steps=round(num_tokens / batch_tokens),
        batch_tokens=batch_tokens,
        seq_len=2048,
        z_loss=1e-4,
        # precision not published: T5X's default, with float32 parameters; rematerialisation: section 4
        execution=Execution(dtype="bfloat16", remat="full"),
    )


def _scaled_down(
    *,
    num_layers: int,
    d_model: int,
    num_heads: int,
    head_dim: int,
    vocab_size: int,
    seq_len: int,
    batch_size: int,
    num_steps: int,
    peak_lr: float,
    constant_steps: int,
    eval_every: int,
) -> Experiment:
    """A size that no paper has, with PaLM's choices and recipe in a laptop's budget.

    palm_small's peak and batch are the best of a sweep at 300 steps: 1e-2, 2e-2, 3e-2 and 4e-2 reach
    1.916, 1.850, 1.834 and 1.832 bits per byte at 1,024 tokens a step; so short a run wants a shorter
    peak and a smaller batch than the paper's.
    """
    model = replace(
        _palm(num_layers=num_layers, d_model=d_model, num_heads=num_heads),
        vocab_size=vocab_size,
        context_length=seq_len,
        attention=Attention(num_heads=num_heads, num_kv_heads=1, head_dim=head_dim),
    )
    experiment = _train(model, batch_size=1, num_tokens=1e12)
    return replace(
        experiment,
        optimizer=replace(
            experiment.optimizer,
            schedule=InverseSquareRoot(peak_lr=peak_lr, constant_steps=constant_steps),
        ),
        seq_len=seq_len,
        batch_tokens=batch_size * seq_len,
        num_steps=num_steps,
        execution=Execution(),
        eval_every=eval_every,
        save_every=eval_every,
    )


# fmt: off
FAMILY = {
    "palm_nano":  _scaled_down(num_layers=2, d_model=32, num_heads=4, head_dim=8, vocab_size=512, seq_len=64,
                               batch_size=8, num_steps=20, peak_lr=1e-2, constant_steps=10, eval_every=10),
    "palm_small": _scaled_down(num_layers=4, d_model=256, num_heads=4, head_dim=64, vocab_size=4096, seq_len=256,
                               batch_size=4, num_steps=600, peak_lr=4e-2, constant_steps=30, eval_every=150),
    "palm_8b":    _train(_palm(num_layers=32,  d_model=4096,  num_heads=16), batch_size=512,  num_tokens=780e9),
    "palm_62b":   _train(_palm(num_layers=64,  d_model=8192,  num_heads=32), batch_size=1024, num_tokens=795e9),
    "palm_540b":  _train(_palm(num_layers=118, d_model=18432, num_heads=48), batch_size=2048, num_tokens=780e9),
}
# fmt: on

REPORTED_PARAMS = {"palm_8b": 8.63e9, "palm_62b": 62.50e9, "palm_540b": 540.35e9}
"""Table 1. The printed digits leave out the norm scales: 135,168, 532,480 and 2,193,408 of them."""
