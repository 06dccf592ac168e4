"""Megatron-Turing NLG 530B (Smith et al. 2022, arXiv 2201.11990).

The shape and the recipe are from section 3.2: Megatron-LM's GPT-2 block, 105 layers deep. The
paper's run was 8-way tensor x 35-way pipeline parallel on up to 420 DGX A100 nodes; `mt_nlg_small`
takes minutes on a laptop and reaches 1.891 bits per byte on the Python standard library (three
seeds, 3 to 7 minutes each on one core of an AMD EPYC):

    python -m zoo.train --model=mt_nlg_small
"""

import math
from dataclasses import replace

from configs import gpt2, recipes
from configs.experiment import Experiment
from configs.paper import Paper
from configs.scaled import NANO, SMALL, scaled_down
from data.config import PublishedSource
from models.config import ModelConfig, Normal


def architecture(num_layers: int, d_model: int, num_heads: int) -> ModelConfig:
    """Return section 3.2's model: GPT-2 with initial values that get smaller with the width."""
    return replace(
        gpt2.architecture(num_layers, d_model, num_heads),
        vocab_size=51_200,
        context_length=2048,
        init=Normal(std=math.sqrt(1 / (3 * d_model)), residual="scaled_by_depth"),
    )


def recipe(model: ModelConfig, *, batch_size: int, peak_lr: float) -> Experiment:
    """Return section 3.2's training run. Its cosine ends at 340B tokens, the run stops at 270B."""
    run = recipes.gpt3(
        model,
        batch_size=batch_size,
        peak_lr=peak_lr,
        ramp_tokens=12e9,
        initial_size=32,
        increment=32,
        warmup_tokens=1e9,
        decay_tokens=340e9,
        num_tokens=270e9,
    )
    return replace(run, data=replace(run.data, vocabulary_size=50_257))


# fmt: off
PUBLISHED = {
    #                           layers d_model heads
    "mt_nlg_530b": recipe(architecture(105, 20480, 128), batch_size=1920, peak_lr=5.0e-5),
}
_BASE = PUBLISHED["mt_nlg_530b"]
FAMILY = {
    "mt_nlg_nano":  scaled_down(_BASE, architecture(2, 32, 4), NANO, peak_lr=3e-3),
    # Peaks of 5e-4, 1e-3 and 2e-3 reach 1.927, 1.889 and 1.956 bits per byte, not xz -9's 1.792:
    # see SMALL.
    "mt_nlg_small": scaled_down(_BASE, architecture(4, 272, 4), SMALL, peak_lr=1e-3),
    **PUBLISHED,
}
# fmt: on

REPORTED_PARAMS = {"mt_nlg_530b": "530B"}
"""Section 3.2."""

# fmt: off
MIXTURE = (
    # source                             percent, epochs, stand-in
    PublishedSource("Books3",            14.3, None, "pg19"),
    PublishedSource("OpenWebText2",      19.3, None, "c4_webtextlike"),
    PublishedSource("Stack Exchange",     5.7, None, None),
    PublishedSource("PubMed Abstracts",   2.9, None, "pubmed"),
    PublishedSource("Wikipedia",          4.8, None, "wikipedia_en"),
    PublishedSource("Gutenberg (PG-19)",  0.9, None, "pg19"),
    PublishedSource("BookCorpus2",        1.0, None, None),
    PublishedSource("NIH ExPorter",       0.2, None, None),
    PublishedSource("arXiv",              1.4, None, "arxiv"),
    PublishedSource("GitHub",             1.6, None, None),
    PublishedSource("Pile-CC",            9.4, None, "c4_en"),
    PublishedSource("CC-2020-50",        13.0, None, "c4_en"),
    PublishedSource("CC-2021-04",        15.7, None, "c4_en"),
    PublishedSource("RealNews",           9.0, None, "c4_realnewslike"),
    PublishedSource("CC-Stories",         0.9, None, None),
)
# fmt: on
"""The sources of the training text."""

PAPER = Paper(
    family="Megatron-Turing NLG",
    title="Using DeepSpeed and Megatron to Train Megatron-Turing NLG 530B",
    authors="Smith et al. 2022",
    reference="arXiv 2201.11990",
    sources={
        "model.stack": "section 3.2: the Transformer decoder, from left to right",
        "model.context_length": "section 3.2",
        "model.num_layers": "section 3.2",
        "model.d_model": "section 3.2",
        "model.attention": "section 3.2: 128 heads, dense in every layer",
        "model.init": "section 3.2: normal, with a standard deviation of about sqrt(1 / (3 "
        "d_model)) = 4.0e-3",
        "optimizer": "section 3.2: Adam with betas 0.9 and 0.95, eps 1e-8, decay 0.1, clipping at "
        "1",
        "optimizer.schedule": "section 3.2: warm-up over 1B tokens, cosine to 10 % over 340B",
        "num_steps": "section 3.2: 270B tokens",
        "batch_tokens": "section 3.2: 1920 sequences",
        "batch_ramp": "section 3.2: from 32 to 1920 sequences in increments of 32, over the first "
        "12B tokens, read as increments at equal distances in tokens",
        "seq_len": "section 3.2",
        "execution.dtype": "section 3.2: bfloat16, mixed precision",
    },
    not_published={
        "model.vocab_size": "GPT-2's 50,257 tokens padded to 51,200, as Megatron-LM does for "
        "8-way tensor parallelism; the 19M parameters of the padding do not show in 530B",
        "data.vocabulary_style": "GPT-2's byte-level BPE of 50,257 tokens, Megatron-LM's tokenizer",
        "model.feed_forward": "Megatron-LM's 4 d_model and GELU, which agree with the count",
        "model.norm": "Megatron-LM's LayerNorm, eps 1e-5",
        "model.position": "Megatron-LM's learned positions",
        "model.layout": "Megatron-LM's pre-norm",
        "model.biases": "Megatron-LM's, as in GPT-2",
        "model.tie_embeddings": "Megatron-LM's: tied",
        "model.logit_scale": "Megatron-LM's: none",
        "model.embedding_scale": "Megatron-LM's: none",
        "model.init.residual": "Megatron-LM's and GPT-2's scaling of the two output projections",
        "model.dropout_rate": "0: less than one epoch",
        "optimizer.decays": "embeddings and kernels: Megatron-LM decays neither biases nor norms "
        "(megatron/optimizer/__init__.py)",
        "param_dtype": "float32: Megatron-LM's optimizer keeps a float32 copy of bfloat16 weights",
        "z_loss": "none: the paper mentions no such term",
        "data.packing": "unmasked: Megatron-LM resets positions and mask at the end of a document "
        "only if told to (--reset-position-ids, --reset-attention-mask)",
        "divergence": "the run ends at a number that is not finite, and warns of a spike",
    },
    reasons={
        "model.init": "models initialised with a higher variance failed to converge",
        "optimizer.beta2": "0.95, lowered from 0.99 to reduce spikes of the training loss",
        "optimizer.schedule.peak_lr": "follows the trend of learning rate against size in earlier "
        "models",
    },
    mixture=MIXTURE,
    mixture_source=(
        "the blend in the example scripts of Microsoft's Megatron-DeepSpeed for the paper's "
        "15 sources (0.14336 for Books3), rounded; not verified against the paper's Table 2"
    ),
)
