"""Training recipes that more than one family uses, and the one for imported weights.

A family whose paper changes something calls the recipe and replaces what differs.
"""

from configs.experiment import Experiment
from configs.parts.batch_ramps import LinearRamp
from configs.parts.objectives import NextToken, Objective
from configs.parts.optimizers import AdamW, WarmupCosine, WarmupCosineInTokens
from data.config import Data
from models.config import ModelConfig
from models.execution import Execution


def gpt3(
    model: ModelConfig,
    *,
    batch_size: int,
    peak_lr: float,
    ramp_tokens: float | None,
    initial_size: int = 16,
    increment: int = 1,
    warmup_tokens: float = 375e6,
    decay_tokens: float | None = 260e9,
    num_tokens: float = 300e9,
) -> Experiment:
    """Return GPT-3's training run (Brown et al. 2020, appendix B), at the model's context length.

    GPT-3 uses it as it is. GPT-2, whose paper gives no recipe beyond the batch, Jurassic-1 and
    Megatron-Turing NLG change some values. No mask separates the documents of a sequence.

    Args:
      batch_size: sequences per optimizer step, at full size.
      ramp_tokens: tokens over which the batch grows linearly to its full size; None: all batches
        have it.
      initial_size: sequences of the first batch, if the batch grows; by default 32k tokens.
      increment: sequences by which it grows at a time.
      decay_tokens: end of the cosine, after which the learning rate stays at a tenth of its peak;
        None: the end of the run.
    """
    batch_tokens = batch_size * model.context_length
    if ramp_tokens is None:  # All steps have the same tokens, so that the schedule may count steps.
        ramp = None
        schedule = WarmupCosine(
            peak_lr=peak_lr,
            warmup_steps=round(warmup_tokens / batch_tokens),
            decay_steps=None if decay_tokens is None else round(decay_tokens / batch_tokens),
            final_fraction=0.1,
        )
    else:
        ramp = LinearRamp(
            initial_tokens=initial_size * model.context_length,
            increment_tokens=increment * model.context_length,
            ramp_tokens=ramp_tokens,
        )
        schedule = WarmupCosineInTokens(
            peak_lr=peak_lr,
            warmup_tokens=warmup_tokens,
            decay_tokens=decay_tokens,
            final_fraction=0.1,
        )
    return Experiment(
        model=model,
        data=Data(packing="unmasked", vocabulary_style="gpt2"),
        optimizer=AdamW(
            schedule=schedule,
            beta1=0.9,
            beta2=0.95,
            eps=1e-8,
            weight_decay=0.1,
            decays="matrices",
            clip_norm=1.0,
        ),
        num_steps=1,
        batch_tokens=batch_tokens,
        batch_ramp=ramp,
        seq_len=model.context_length,
        execution=Execution(dtype="bfloat16", remat="full"),
    ).lasting(num_tokens)


def fine_tuning(model: ModelConfig, objective: Objective = NextToken()) -> Experiment:
    """Return the default training run of an imported model, in which all weights are trained.

    The peak learning rate is low because the weights are good already: 2e-5 with a short warm-up
    is what the published fine-tunings of such models use (Alpaca's, for one).
    """
    seq_len = min(model.context_length, 1024)
    packing = "split" if objective == NextToken() else "unmasked"
    return Experiment(
        model=model,
        objective=objective,
        data=Data(packing=packing),
        optimizer=AdamW(schedule=WarmupCosine(peak_lr=2e-5, warmup_steps=30)),
        num_steps=1000,
        batch_tokens=16 * seq_len,
        seq_len=seq_len,
    )
