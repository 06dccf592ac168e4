"""PaLM: Scaling Language Modeling with Pathways (Chowdhery et al. 2022, arXiv 2204.02311).

The sizes are from Table 1, the choices from section 2, the training from section 5, the batches
from Table 1 and section 5. The 540B was trained on two TPU v4 pods of 3072 chips. `palm_small`
takes a few minutes on a laptop and reaches 1.658 bits per byte on the Python standard library
(three seeds, 3 to 7 minutes each on one core of an AMD EPYC; 2.22 after its first 150 steps):

    python -m zoo.train --model=palm_small
"""

from configs.experiment import Divergence, Experiment
from configs.paper import Paper
from configs.parts.batch_ramps import SteppedRamp
from configs.parts.optimizers import Adafactor, InverseSquareRoot
from configs.scaled import NANO, SMALL, scaled_down
from data.config import Data, PublishedSource
from models.config import Attention, FanIn, FeedForward, LayerNorm, ModelConfig, Rotary
from models.execution import Execution


def architecture(
    num_layers: int, d_model: int, num_heads: int, *, head_dim: int = 256
) -> ModelConfig:
    """Return section 2's model: parallel layers, multi-query attention, SwiGLU and no biases."""
    return ModelConfig(
        vocab_size=256_000,
        context_length=2048,
        num_layers=num_layers,
        d_model=d_model,
        attention=Attention(num_heads=num_heads, num_kv_heads=1, head_dim=head_dim),
        feed_forward=FeedForward(d_ff=4 * d_model, kind="swiglu"),
        norm=LayerNorm(eps=1e-6),
        position=Rotary(theta=10_000.0),
        layout="parallel",
        biases=(),
        tie_embeddings=True,
        logit_scale="inverse_sqrt_d_model",
        init=FanIn(embedding_std=1.0),
        dropout_rate=0.0,
    )


def recipe(
    model: ModelConfig, *, batch_size: int, num_tokens: float, ramp: SteppedRamp
) -> Experiment:
    """Return section 5's training run, whose batch grows in steps to `batch_size` sequences."""
    return Experiment(
        model=model,
        data=Data(packing="unmasked", vocabulary_style="palm"),
        optimizer=Adafactor(
            schedule=InverseSquareRoot(peak_lr=1e-2, constant_steps=10_000),
            beta1=0.9,
            decay_exponent=0.8,
            weight_decay_exponent=2.0,
            decays="all",
            clip_norm=1.0,
        ),
        num_steps=1,
        batch_tokens=batch_size * 2048,
        batch_ramp=ramp,
        seq_len=2048,
        z_loss=1e-4,
        divergence=Divergence(action="rewind", rewind_steps=100, skip_batches=200),
        execution=Execution(dtype="bfloat16", remat="full"),
    ).lasting(num_tokens)


_SWITCH = 50_000 * 512 * 2048, 50_000 * 512 * 2048 + 65_000 * 1024 * 2048
"""Tokens at steps 50,000 and 115,000 of the 540B."""
_END = _SWITCH[1] + 140_000 * 2048 * 2048
"""Tokens at its last step, 255,000."""


def _one_switch(num_tokens: float) -> SteppedRamp:
    """Return a ramp from half the batch, which ends where the 540B's does in its own run."""
    return SteppedRamp(fractions=(1 / 2,), until_tokens=(_SWITCH[1] / _END * num_tokens,))


# fmt: off
PUBLISHED = {
    #                        layers d_model heads
    "palm_8b":   recipe(architecture(32,  4096, 16),  batch_size=512,  num_tokens=780e9,
                        ramp=_one_switch(780e9)),
    "palm_62b":  recipe(architecture(64,  8192, 32),  batch_size=1024, num_tokens=795e9,
                        ramp=_one_switch(795e9)),
    "palm_540b": recipe(architecture(118, 18432, 48), batch_size=2048, num_tokens=_END,
                        ramp=SteppedRamp(fractions=(1 / 4, 1 / 2), until_tokens=_SWITCH)),
}
_BASE = PUBLISHED["palm_8b"]
FAMILY = {
    "palm_nano":  scaled_down(_BASE, architecture(2, 32, 4, head_dim=8), NANO, peak_lr=1e-2),
    # Peaks of 2e-2, 4e-2 and 8e-2 reach 1.751, 1.671 and 1.673 bits per byte (xz -9: 1.792). Such
    # a short run needs a shorter, higher peak than the paper's.
    "palm_small": scaled_down(_BASE, architecture(4, 256, 4, head_dim=64), SMALL, peak_lr=4e-2),
    **PUBLISHED,
}
# fmt: on

REPORTED_PARAMS = {"palm_8b": "8.63B", "palm_62b": "62.50B", "palm_540b": "540.35B"}
"""Table 1, which does not count the norm scales."""

_NORM_SCALES = "Table 1 does not count the {} norm scales; with them the model has {} parameters"
# fmt: off
MIXTURE = (
    # source                                                    percent, epochs, stand-in
    PublishedSource("social media conversations, multilingual", 50, None, "reddit"),
    PublishedSource("filtered webpages, multilingual",          27, None, "c4_en"),
    PublishedSource("books, English",                           13, None, "pg19"),
    PublishedSource("GitHub, code",                              5, None, None),
    PublishedSource("Wikipedia, multilingual",                   4, None, "wikipedia_en"),
    PublishedSource("news, English",                             1, None, "c4_realnewslike"),
)
# fmt: on
"""The sources of the training text."""

PAPER = Paper(
    family="PaLM",
    title="PaLM: Scaling Language Modeling with Pathways",
    authors="Chowdhery et al. 2022",
    reference="arXiv 2204.02311",
    sources={
        "model.vocab_size": "section 2: SentencePiece, 256k tokens; Table 1's counts need 256,000",
        "model.context_length": "section 5",
        "model.num_layers": "Table 1",
        "model.d_model": "Table 1",
        "model.attention": "Table 1 and section 2: query heads of 256, one key and value head",
        "model.feed_forward": "section 2: SwiGLU; Table 1: d_ff = 4 d_model",
        "model.norm": "section 2: LayerNorm without bias. T5X's class of that name does not "
        "subtract the mean; the paper does not say that PaLM's did not",
        "model.position": "section 2: rotary",
        "model.layout": "section 2: y = x + F(N(x)) + A(N(x))",
        "model.biases": "section 2: none, in dense layers and norms alike",
        "model.tie_embeddings": "section 2",
        "model.logit_scale": "section 5: logits / sqrt(d_model)",
        "model.stack": "section 2: decoder-only, a token sees itself and those before it",
        "model.init": "section 5: kernels N(0, 1/sqrt(n_in)), read as the standard deviation; "
        "embeddings N(0, 1)",
        "model.dropout_rate": "section 5: none in pre-training",
        "optimizer": "section 5: Adafactor without factoring, beta1 0.9, beta2 = 1 - k^-0.8, decay "
        "lr^2, clipping at 1. T5X's clipping of each update is not mentioned, and left out",
        "optimizer.schedule": "section 5: 1e-2 for 10,000 steps, then 1/sqrt(k)",
        "num_steps": "section 5: 255,000 steps for the 540B, 776B tokens; section 3 rounds them to "
        "780B, which the 8B has here, too; appendix F: 795B for the 62B",
        "batch_tokens": "Table 1 and section 5: 512, 1024 and 2048 sequences at full size",
        "batch_ramp": "section 5: the 540B has 512 sequences until step 50,000 and 1024 until step "
        "115,000; Table 1: the 8B and the 62B grow once, to twice their first batch",
        "data.vocabulary_style": "section 2: SentencePiece, lossless, white space included; bytes "
        "for unknown characters; every digit a token of its own. The zoo chooses BPE",
        "palm_540b:batch_ramp.until_tokens": "section 5: the tokens of 50,000 and of 115,000 steps",
        "seq_len": "section 5",
        "z_loss": "section 5: 1e-4 log^2 Z",
        "data.packing": "section 5: documents are concatenated, with [eod] between them, and "
        "split at 2048 tokens; no mask is mentioned",
        "divergence": "section 5.1: about 20 spikes of the 540B; each time a checkpoint from about "
        "100 steps before, and 200 to 500 batches left out, those of the spike among them",
    },
    not_published={
        "model.embedding_scale": "none: section 2 names no factor",
        "batch_ramp.until_tokens": "24 % of the tokens, after which the 540B's batch grows for the "
        "last time",
        "model.norm.eps": "1e-6, T5X's",
        "model.position.theta": "10,000, and all dimensions are rotated, as in Su et al. 2021",
        "optimizer.decays": "all, norm scales included: the Adafactor of T5X, on which PaLM's code "
        "is based (section 4), decays every parameter (t5x/adafactor.py)",
        "divergence.window": "128 steps, and a spike is 6 deviations above their median, as OLMo's "
        "and Levanter's limits; people watched the paper's runs",
        "divergence.deviations": "6, see the window",
        "divergence.attempts": "5",
        "param_dtype": "float32, T5X's default",
        "execution.dtype": "bfloat16 products and activations, T5X's default",
    },
    reasons={
        "model.vocab_size": "covers the many languages of the corpus without too many tokens per "
        "word",
        "model.attention": "no effect on quality or training speed, and much cheaper "
        "autoregressive decoding",
        "model.feed_forward": "SwiGLU gives better quality than ReLU, GELU or Swish at the same "
        "compute",
        "model.position": "better on long sequences than absolute or relative embeddings",
        "model.layout": "about 15 % faster at large scale; a small loss of quality at 8B, none at "
        "62B",
        "model.biases": "large models train more stably without",
        "model.init": "embeddings of variance 1, as no norm follows them",
        "optimizer": "steps scale with the values of each matrix, so that embeddings and kernels, "
        "whose values differ much in size, each get a suitable rate",
        "batch_tokens": "small batches use samples better early in training, large ones late in "
        "training, and large ones run faster",
        "divergence": "the same batches caused no spike from another checkpoint: spikes come from "
        "batches together with a state of the parameters",
        "z_loss": "keeps log Z near 0, for stability",
    },
    mixture=MIXTURE,
    mixture_source="Table 2; section 3: one epoch, in which no part repeats",
    mismatches={
        "palm_8b": _NORM_SCALES.format("135,168", "8,632,012,800"),
        "palm_62b": _NORM_SCALES.format("532,480", "62,495,662,080"),
        "palm_540b": _NORM_SCALES.format("2,193,408", "540,356,474,880"),
    },
)
