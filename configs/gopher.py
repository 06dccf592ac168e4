"""Gopher: Scaling Language Models: Methods, Analysis & Insights (Rae et al. 2021).

arXiv 2112.11446. The sizes, batches and learning rates are from Table 1, the choices and the
training from sections 3.1 to 3.3 and appendix C. The 280B was trained on 4096 TPU v3 chips;
`gopher_small` takes minutes on a laptop and reaches 1.809 bits per byte on the Python standard
library (three seeds, 3 to 7 minutes each on one core of an AMD EPYC):

    python -m zoo.train --model=gopher_small
"""

from configs.experiment import Experiment, ParamDtype
from configs.paper import Paper
from configs.parts.batch_ramps import SteppedRamp
from configs.parts.optimizers import AdamW, WarmupCosine
from configs.scaled import NANO, SMALL, scaled_down
from data.config import Data, PublishedSource
from models.config import Attention, FeedForward, ModelConfig, Normal, Relative, RMSNorm
from models.execution import Execution


def architecture(num_layers: int, d_model: int, num_heads: int, head_dim: int) -> ModelConfig:
    """Return section 3.1's model: GPT-2 with RMSNorm and Transformer-XL's relative positions.

    Chinchilla's is the same.
    """
    return ModelConfig(
        vocab_size=32_000,
        context_length=2048,
        num_layers=num_layers,
        d_model=d_model,
        attention=Attention(num_heads=num_heads, num_kv_heads=num_heads, head_dim=head_dim),
        feed_forward=FeedForward(d_ff=4 * d_model, kind="gelu"),
        norm=RMSNorm(eps=1e-6),
        position=Relative(),
        layout="pre_norm",
        biases=("attention_output", "feed_forward", "logits"),
        tie_embeddings=True,
        init=Normal(std=0.02, residual="scaled_by_depth"),
        dropout_rate=0.0,
    )


def recipe(
    model: ModelConfig,
    *,
    batch_size: int,
    peak_lr: float,
    num_tokens: float = 300e9,
    doubles: bool = False,
    clip_norm: float = 1.0,
    param_dtype: ParamDtype = "float32",
) -> Experiment:
    """Return section 3.2's training run. Adam is AdamW without decay.

    Args:
      batch_size: sequences per optimizer step; if the batch doubles, after that.
      doubles: whether the batch doubles midway.
    """
    midway = SteppedRamp(fractions=(1 / 2,), until_tokens=(num_tokens / 2,))
    return Experiment(
        model=model,
        data=Data(packing="unmasked", vocabulary_style="gopher"),
        optimizer=AdamW(
            schedule=WarmupCosine(
                initial_lr=1e-7, peak_lr=peak_lr, warmup_steps=1500, final_fraction=0.1
            ),
            beta1=0.9,
            beta2=0.95,
            eps=1e-8,
            weight_decay=0.0,
            decays="matrices",
            clip_norm=clip_norm,
        ),
        num_steps=1,
        batch_tokens=batch_size * 2048,
        batch_ramp=midway if doubles else None,
        seq_len=2048,
        param_dtype=param_dtype,
        execution=Execution(dtype="bfloat16", remat="full"),
    ).lasting(num_tokens)


# fmt: off
PUBLISHED = {
    #                     layers d_model heads key size
    "gopher_44m":  recipe(architecture( 8,   512,  16,  32), batch_size=128,  peak_lr=6.0e-4),
    "gopher_117m": recipe(architecture(12,   768,  12,  64), batch_size=128,  peak_lr=6.0e-4),
    "gopher_417m": recipe(architecture(12,  1536,  12, 128), batch_size=128,  peak_lr=2.0e-4),
    "gopher_1.4b": recipe(architecture(24,  2048,  16, 128), batch_size=128,  peak_lr=2.0e-4),
    "gopher_7.1b": recipe(architecture(32,  4096,  32, 128), batch_size=1024, peak_lr=1.2e-4,
                          clip_norm=0.25, param_dtype="bfloat16"),
    "gopher_280b": recipe(architecture(80, 16384, 128, 128), batch_size=3072, peak_lr=0.4e-4,
                          clip_norm=0.25, doubles=True, param_dtype="bfloat16"),
}
_BASE = PUBLISHED["gopher_44m"]
FAMILY = {
    "gopher_nano":  scaled_down(_BASE, architecture(2, 32, 4, 8), NANO, peak_lr=3e-3),
    # Peaks of 5e-4, 1e-3 and 2e-3 reach 1.874, 1.813 and 1.917 bits per byte, not xz -9's 1.792:
    # see SMALL.
    "gopher_small": scaled_down(_BASE, architecture(4, 264, 4, 66), SMALL, peak_lr=1e-3),
    **PUBLISHED,
}
# fmt: on

REPORTED_PARAMS = {
    "gopher_44m": "44M",
    "gopher_117m": "117M",
    "gopher_417m": "417M",
    "gopher_1.4b": "1.4B",
    "gopher_7.1b": "7.1B",
    "gopher_280b": "280B",
}
"""Table 1. Without each layer's matrix of relative positions the counts would be 42M to 258B."""

# fmt: off
MIXTURE = (
    # source                      percent, epochs, stand-in
    PublishedSource("MassiveWeb", 48, None, "dolma"),
    PublishedSource("Books",      27, None, "pg19"),
    PublishedSource("C4",         10, None, "c4_en"),
    PublishedSource("News",       10, None, "c4_realnewslike"),
    PublishedSource("GitHub",      3, None, None),
    PublishedSource("Wikipedia",   2, None, "wikipedia_en"),
)
# fmt: on
"""The sources of the training text."""

PAPER = Paper(
    family="Gopher",
    title="Scaling Language Models: Methods, Analysis & Insights from Training Gopher",
    authors="Rae et al. 2021",
    reference="arXiv 2112.11446",
    sources={
        "model.vocab_size": "section 3.1: SentencePiece, 32,000 pieces",
        "model.context_length": "section 3.2",
        "model.num_layers": "Table 1",
        "model.d_model": "Table 1",
        "model.attention": "Table 1: heads and key size; dense in every layer",
        "model.feed_forward": "Table 1: 4 d_model; GELU as in GPT-2 (section 3.1)",
        "model.norm": "section 3.1: RMSNorm instead of LayerNorm",
        "model.position": "section 3.1: Transformer-XL's (Dai et al. 2019), with one projection "
        "and the vectors u and v in every layer, which Table 1's counts need",
        "model.layout": "section 3.1: as in GPT-2, pre-norm",
        "model.tie_embeddings": "section 3.1: as in GPT-2; Table 1's counts need one table",
        "model.logit_scale": "section 3.1: as in GPT-2, none",
        "model.stack": "section 3.1: an autoregressive Transformer",
        "model.embedding_scale": "section 3.1: as in GPT-2, none",
        "optimizer": "section 3.2: Adam, read as without weight decay",
        "optimizer.schedule": "section 3.2: from 1e-7 to the peak over 1500 steps, then cosine to "
        "a tenth",
        "optimizer.schedule.peak_lr": "Table 1",
        "optimizer.clip_norm": "section 3.2: 1, and 0.25 for the 7.1B and 280B",
        "num_steps": "section 3.2: 300B tokens",
        "batch_tokens": "Table 1, read as whole sequences of 2048 tokens: 0.25M, 2M and 6M tokens "
        "as 128, 1024 and 3072",
        "batch_ramp": "Table 1: the 280B's batch doubles from 3M to 6M tokens during training",
        "data.vocabulary_style": "section 3.1: SentencePiece with bytes for unknown characters; "
        "NFKC follows from Chinchilla's section 4.1, which leaves it out. The zoo chooses BPE, "
        "and keeps white space as it is",
        "seq_len": "section 3.2",
        "param_dtype": "section 3.2 and appendix C: float32 below 7.1B; the 7.1B and 280B had "
        "bfloat16 parameters with stochastic rounding, which appendix C finds worse than a "
        "float32 copy. The state of Adam is float32: the 2.5 TiB that section 3.3 gives for it "
        "and the parameters of the 280B are 10 bytes a parameter",
        "execution.dtype": "section 3.2 and appendix C: bfloat16 activations",
    },
    not_published={
        "batch_ramp.until_tokens": "half of the tokens: the paper says neither where the 280B's "
        "batch doubles nor whether its cosine goes by steps or tokens; here by steps",
        "model.norm.eps": "1e-6, as in T5's RMSNorm",
        "model.biases": "feed-forward, attention output and logits, none on queries, keys and "
        "values: these give all 50 sizes of Chinchilla's Table A9, which shares the architecture. "
        "Gopher's printed digits are too few to tell",
        "model.init": "GPT-2's rule",
        "model.dropout_rate": "0: less than one epoch",
        "optimizer.beta1": "0.9, GPT-3's",
        "optimizer.beta2": "0.95, GPT-3's",
        "optimizer.eps": "1e-8, GPT-3's",
        "optimizer.decays": "nothing to choose: the decay is 0",
        "z_loss": "none: the paper mentions no such term",
        "data.packing": "unmasked, as in GPT-3; not verified against the paper's appendix on data",
        "divergence": "the run ends at a number that is not finite, and warns of a spike",
    },
    reasons={
        "model.position": "allows evaluation on sequences longer than those in training",
        "model.vocab_size": "byte-level backoff makes any text encodable",
        "optimizer": "Adafactor saved memory but was less stable, and worse at scale",
    },
    mixture=MIXTURE,
    mixture_source=(
        "Table A1 of Hoffmann et al. 2022, which prints the proportions of Rae et al. beside "
        "its own"
    ),
)
