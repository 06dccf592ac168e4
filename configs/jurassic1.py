"""Jurassic-1: Technical Details and Evaluation (Lieber, Sharir, Lenz and Shoham, AI21, 2021).

The sizes are from Table 1, the choices from sections 2.1 and 2.2, the training from section 2.3:
GPT-2's block, GPT-3's hyper-parameters, fewer and wider layers, and a vocabulary five times as
large. `jurassic1_small`, with three layers where the other families have four, takes minutes on a
laptop and reaches 2.008 bits per byte on the Python standard library (three seeds, 3 to 7 minutes
each on one core of an AMD EPYC):

    python -m zoo.train --model=jurassic1_small
"""

from dataclasses import replace

from configs import gpt2, gpt3
from configs.experiment import Experiment
from configs.paper import Paper
from configs.scaled import NANO, SMALL, scaled_down
from models.config import ModelConfig


def architecture(num_layers: int, d_model: int, num_heads: int) -> ModelConfig:
    """Return the model of sections 2.1 and 2.2: GPT-2, twice its context, a vocabulary of 2^18."""
    model = gpt2.architecture(num_layers, d_model, num_heads)
    return replace(model, vocab_size=262_144, context_length=2048)


def recipe(model: ModelConfig, *, batch_size: int, peak_lr: float) -> Experiment:
    """Return the training run of section 2.3: GPT-3's, with pieces across words."""
    run = gpt3.recipe(model, batch_size=batch_size, peak_lr=peak_lr)
    return replace(run, data=replace(run.data, vocabulary_style="jurassic1"))


# fmt: off
PUBLISHED = {
    #                              layers d_model heads
    "jurassic1_7.5b": recipe(architecture(32,  4096, 32), batch_size=1024, peak_lr=1.2e-4),
    "jurassic1_178b": recipe(architecture(76, 13824, 96), batch_size=1536, peak_lr=0.6e-4),
}
_BASE = PUBLISHED["jurassic1_7.5b"]
FAMILY = {
    "jurassic1_nano":  scaled_down(_BASE, architecture(2, 32, 4), NANO, peak_lr=3e-3),
    # Peaks of 5e-4, 1e-3 and 2e-3 reach 2.014, 2.010 and 2.085 bits per byte, not xz -9's 1.792:
    # see SMALL.
    "jurassic1_small": scaled_down(_BASE, architecture(3, 312, 4), SMALL, peak_lr=1e-3),
    **PUBLISHED,
}
# fmt: on

REPORTED_PARAMS = {"jurassic1_7.5b": "7.5B", "jurassic1_178b": "178B"}
"""Table 1."""

PAPER = Paper(
    family="Jurassic-1",
    title="Jurassic-1: Technical Details and Evaluation",
    authors="Lieber et al. 2021",
    reference="AI21 Labs white paper, August 2021",
    sources={
        "model.stack": "section 2.1: the Transformer decoder",
        "model.vocab_size": "section 2.2: 256K items, read as 2^18: the 3.6B parameters that it "
        "gives for the 178B's embedding are 262,144 x 13,824; 256,000 rows would give 3.5B",
        "model.context_length": "section 2.2",
        "model.num_layers": "Table 1",
        "model.d_model": "Table 1",
        "model.attention": "Table 1 and section 2.1: as in GPT-2, dense in every layer",
        "model.layout": "section 2.1: GPT-2's modifications of the Transformer decoder",
        "model.tie_embeddings": "section 2.1: as in GPT-2; Table 1's counts need one table",
        "optimizer.schedule": "section 2.3: warm-up over about the first 375M tokens; as in GPT-3",
        "optimizer.schedule.peak_lr": "section 2.3",
        "num_steps": "section 2.3: 300B tokens",
        "batch_tokens": "section 2.3: 2M and 3.2M tokens, read as 1024 and 1536 sequences",
        "batch_ramp": "section 2.3: from 32k tokens over the first few billion",
        "data.vocabulary_style": "section 2.2: SentencePiece with bytes for unknown characters, "
        "whose pieces may hold several words. The zoo chooses BPE, white space kept as it is, and "
        "pieces of up to 256 characters instead of SentencePiece's 16",
        "seq_len": "section 2.2",
    },
    not_published={
        "batch_ramp.initial_tokens": "16 sequences, as for GPT-3 here",
        "batch_ramp.increment_tokens": "one sequence at a time, as for GPT-3 here",
        "batch_ramp.ramp_tokens": "9B and 12B, as for GPT-3's batches of the same sizes here",
        "model.feed_forward": "GPT-2's 4 d_model and GELU, which agree with Table 1's counts",
        "model.norm": "GPT-2's LayerNorm, eps 1e-5",
        "model.position": "GPT-2's learned positions",
        "model.biases": "GPT-2's",
        "model.logit_scale": "GPT-2's: none",
        "model.embedding_scale": "GPT-2's: none",
        "model.init": "GPT-2's",
        "model.dropout_rate": "0, as in the zoo's GPT-3",
        "optimizer": "GPT-3's Adam, decay and clipping: section 2.3 follows the hyper-parameters "
        "of Brown et al. 2020 and lists none of these",
        "optimizer.decays": "embeddings and kernels, as in the zoo's GPT-3",
        "param_dtype": "float32",
        "z_loss": "none: the paper mentions no such term",
        "execution.dtype": "bfloat16 products and activations",
        "data.packing": "unmasked, as in GPT-3",
        "divergence": "the run ends at a number that is not finite, and warns of a spike",
    },
    reasons={
        "model.num_layers": "76 layers instead of GPT-3's 96: the best depth for this size is "
        "about 80 (Levine et al. 2020), and 76 makes equal pipeline stages",
        "model.attention": "the number of heads is divisible by the tensor-parallel degree, their "
        "size by 8",
        "model.vocab_size": "tokens that cross word boundaries make texts shorter in tokens",
    },
    mixture=gpt3.MIXTURE,
    mixture_source=(
        "not published. These are GPT-3's, whose sources the paper says it follows with "
        "public text; not verified against the paper"
    ),
)
