"""T5: Exploring the Limits of Transfer Learning (Raffel et al. 2020), as its version 1.1.

An encoder reads a text from which spans are cut out, and a decoder writes the spans. Version 1.1 is
the released successor (google-research/text-to-text-transfer-transformer); its sizes and settings
are those of T5X's gin files.

    python -m zoo.train --model=t5_small
"""

from configs.experiment import Experiment
from configs.paper import Paper
from configs.parts.objectives import SpanCorruption
from configs.parts.optimizers import Adafactor, InverseSquareRoot
from configs.scaled import NANO, SMALL, Budget, scaled_down
from data.config import Data, PublishedSource
from models.config import (
    Attention,
    Bucketed,
    EncoderDecoder,
    FanIn,
    FeedForward,
    ModelConfig,
    RMSNorm,
)

NUM_SENTINELS = 100
"""Ids that stand for a span that is cut out."""


def architecture(
    num_layers: int, d_model: int, num_heads: int, d_ff: int, head_dim: int = 64
) -> ModelConfig:
    """Return the model of version 1.1, with as many layers in each of its stacks."""
    return ModelConfig(
        vocab_size=32_128,
        context_length=512,
        num_layers=num_layers,
        d_model=d_model,
        attention=Attention(num_heads=num_heads, num_kv_heads=num_heads, head_dim=head_dim),
        feed_forward=FeedForward(d_ff=d_ff, kind="geglu"),
        norm=RMSNorm(eps=1e-6),
        position=Bucketed(num_buckets=32, max_distance=128),
        layout="pre_norm",
        biases=(),
        tie_embeddings=False,
        init=FanIn(embedding_std=1.0),
        stack=EncoderDecoder(num_encoder_layers=num_layers),
    )


def recipe(model: ModelConfig) -> Experiment:
    """Return the pre-training of version 1.1."""
    return Experiment(
        model=model,
        objective=SpanCorruption(first_sentinel=32_099),
        data=Data(packing="unmasked", vocabulary_size=32_000),
        optimizer=Adafactor(
            schedule=InverseSquareRoot(peak_lr=1e-2, constant_steps=10_000),
            beta1=0.0,
            decay_exponent=0.8,
            weight_decay_exponent=None,
            clip_norm=None,
        ),
        num_steps=1_000_000,
        batch_tokens=2048 * 568,
        seq_len=568,
        z_loss=1e-4,
    )


def scaled(model: ModelConfig, budget: Budget, peak_lr: float) -> Experiment:
    """Return a run of `model` whose sentinels are the last ids of the table.

    The vocabulary, which is trained on the text, ends before them.
    """
    return scaled_down(
        _BASE,
        model,
        budget,
        peak_lr=peak_lr,
        objective=SpanCorruption(first_sentinel=budget.vocab_size - 1),
        vocabulary_size=budget.vocab_size - NUM_SENTINELS,
    )


# fmt: off
PUBLISHED = {
    #                        layers d_model heads d_ff
    "t5_77m":  recipe(architecture(8,  512,  6,  1_024)),
    "t5_250m": recipe(architecture(12, 768,  12, 2_048)),
    "t5_800m": recipe(architecture(24, 1024, 16, 2_816)),
    "t5_3b":   recipe(architecture(24, 2048, 32, 5_120)),
    "t5_11b":  recipe(architecture(24, 4096, 64, 10_240)),
}
_BASE = PUBLISHED["t5_77m"]
FAMILY = {
    "t5_nano":  scaled(architecture(1, 32, 4, 64, head_dim=8), NANO, peak_lr=1e-2),
    # Peaks of 5e-3, 1e-2, 2e-2 and 4e-2 reach 4.986, 4.837, 4.723 and 4.733 nats per token of the
    # spans.
    "t5_small": scaled(architecture(2, 232, 4, 576, head_dim=58), SMALL, peak_lr=2e-2),
    **PUBLISHED,
}
# fmt: on

REPORTED_PARAMS = {
    "t5_77m": "77M",
    "t5_250m": "250M",
    "t5_800m": "800M",
    "t5_3b": "3B",
    "t5_11b": "11B",
}
"""The names of the released checkpoints: small, base, large, xl and xxl."""

MIXTURE = (PublishedSource("C4", 100, stand_in="c4"),)
"""The sources of the training text."""

PAPER = Paper(
    family="T5",
    title="Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer",
    authors="Raffel et al. 2020",
    reference="arXiv 1910.10683",
    sources={
        "model.vocab_size": "T5X: 32,000 pieces and 100 sentinels, rounded up to 128",
        "model.num_layers": "T5X, t5_1_1/*.gin: as many in each stack",
        "model.d_model": "T5X, t5_1_1/*.gin",
        "model.attention": "T5X, t5_1_1/*.gin: heads of 64. Its scores are not divided by sqrt(H), "
        "and its query matrices are drawn sqrt(H) times smaller: the same function at the start",
        "model.feed_forward": "T5X, t5_1_1/*.gin: GELU, gated",
        "model.norm": "T5X, layers.py: RMSNorm, eps 1e-6",
        "model.position": "section 2.1 and T5X: 32 buckets up to a distance of 128, one table for "
        "each stack",
        "model.stack": "section 2.1: an encoder and a decoder",
        "model.layout": "section 2.1: the norm is outside of the residual path; one more ends each "
        "stack",
        "model.biases": "section 2.1 and T5X: none",
        "model.tie_embeddings": "T5X, base.gin: no",
        "model.logit_scale": "T5X: none",
        "model.embedding_scale": "T5X: none",
        "model.init": "T5X, layers.py: by fan-in; embeddings of std 1",
        "model.dropout_rate": "T5X, base_c4_pretrain.gin: none",
        "objective": "section 3.1.4 and Figure 2: 15 % of the tokens, in spans of 3 on average; a "
        "last sentinel ends the target, and the source has no mark at its end",
        "optimizer": "section 3.1.2: Adafactor. The paper's keeps factors of the moments and clips "
        "each matrix's update; this one does neither",
        "optimizer.schedule": "section 3.1.2: 1 / sqrt(max(k, 10,000))",
        "num_steps": "section 3.7: 1 million",
        "batch_tokens": "section 3.7: 2,048 sequences, of 512 tokens once the spans are cut out",
        "seq_len": "568 tokens of text, of which 511 are left for the encoder",
        "data.packing": "section 3.1.2: documents one after another",
        "z_loss": "T5X, base.gin: 1e-4",
    },
    not_published={
        "model.context_length": "512, the length of training: the positions have no end",
        "model.embedding_dropout": "without dropout, of no effect",
        "optimizer.beta1": "none: Adafactor's default in T5X",
        "optimizer.clip_norm": "none: T5X's default",
        "optimizer.weight_decay_exponent": "none: T5X's default",
        "optimizer.decays": "nothing decays",
        "batch_ramp": "none: the paper gives one batch size",
        "data.vocabulary_style": "PaLM's SentencePiece, as all contrasts have here, so that they "
        "can be compared; the paper's is a unigram model",
        "param_dtype": "float32, T5X's default",
        "execution.dtype": "the device's best: bfloat16 on accelerators, float32 on CPUs",
        "divergence": "the run ends at a number that is not finite, and warns of a spike",
    },
    reasons={
        "objective": "spans make short targets, which cost little",
    },
    mixture=MIXTURE,
    mixture_source="section 2.2: C4 alone",
    mismatches={
        "t5_250m": "a rounded name; the exact count is 247.6M",
        "t5_800m": "a rounded name; the exact count is 783.2M",
    },
)
