"""Chinchilla: Training Compute-Optimal Large Language Models (Hoffmann et al. 2022).

arXiv 2203.15556. The 70B is from Table 4 and section 4.1, the 50 models of the scaling study are
from Table A9 and appendix D. The architecture is Gopher's; section 4.1 changes the optimizer, the
tokenizer and the data. `chinchilla_small` takes minutes on a laptop and reaches 1.815 bits per byte
on the Python standard library (three seeds, 3 to 7 minutes each on one core of an AMD EPYC):

    python -m zoo.train --model=chinchilla_small
"""

import math
from dataclasses import replace

from configs import gopher
from configs.experiment import Experiment
from configs.paper import Paper
from configs.scaled import NANO, SMALL, scaled_down
from data.config import PublishedSource
from models.config import ModelConfig

architecture = gopher.architecture
"""The model of section 4.1, which is Gopher's."""


def recipe(
    model: ModelConfig,
    *,
    batch_size: int,
    peak_lr: float,
    num_tokens: float,
    doubles: bool = False,
    clip_norm: float = 1.0,
) -> Experiment:
    """Return section 4.1's training run: Gopher's with AdamW, over `num_tokens` tokens."""
    run = gopher.recipe(
        model,
        batch_size=batch_size,
        peak_lr=peak_lr,
        num_tokens=num_tokens,
        doubles=doubles,
        clip_norm=clip_norm,
    )
    return replace(
        run,
        optimizer=replace(run.optimizer, weight_decay=0.1, decays="matrices"),
        data=replace(run.data, vocabulary_style="chinchilla"),
    )


def _scaling_run(
    num_params: float, d_model: int, head_dim: int, num_heads: int, num_layers: int
) -> Experiment:
    """Return the run of a model in Table A9.

    Its 20 tokens per parameter and its batch of 0.5M tokens are the zoo's choice.

    Section D.1 gives a peak learning rate of 2e-4 for the smallest model and 1.25e-4 for the
    largest; between them log(peak) falls linearly with log(num_params).
    """
    relative_size = math.log(num_params / 44e6) / math.log(16_183e6 / 44e6)
    return recipe(
        architecture(num_layers, d_model, num_heads, head_dim),
        batch_size=256,
        peak_lr=2e-4 * (1.25e-4 / 2e-4) ** relative_size,
        num_tokens=20 * num_params,
        clip_norm=1.0 if num_params < 7e9 else 0.25,
    )


# fmt: off
_TABLE_A9 = [  # d_ff is 4 d_model in every row
    # params/1e6, d_model, kv size, heads, layers
    (    44,   512,   64,   8,   8),
    (    57,   576,   64,   9,   9),
    (    74,   640,   64,  10,  10),
    (    90,   640,   64,  10,  13),
    (   106,   640,   64,  10,  16),
    (   117,   768,   64,  12,  12),
    (   140,   768,   64,  12,  15),
    (   163,   768,   64,  12,  18),
    (   175,   896,   64,  14,  14),
    (   196,   896,   64,  14,  16),
    (   217,   896,   64,  14,  18),
    (   251,  1024,   64,  16,  16),
    (   278,  1024,   64,  16,  18),
    (   306,  1024,   64,  16,  20),
    (   425,  1280,  128,  10,  18),
    (   489,  1280,  128,  10,  21),
    (   509,  1408,  128,  11,  18),
    (   552,  1280,  128,  10,  24),
    (   587,  1408,  128,  11,  21),
    (   632,  1536,  128,  12,  19),
    (   664,  1408,  128,  11,  24),
    (   724,  1536,  128,  12,  22),
    (   816,  1536,  128,  12,  25),
    (   893,  1792,  128,  14,  20),
    ( 1_018,  1792,  128,  14,  23),
    ( 1_143,  1792,  128,  14,  26),
    ( 1_266,  2048,  128,  16,  22),
    ( 1_424,  2176,  128,  17,  22),
    ( 1_429,  2048,  128,  16,  25),
    ( 1_593,  2048,  128,  16,  28),
    ( 1_609,  2176,  128,  17,  25),
    ( 1_731,  2304,  128,  18,  24),
    ( 1_794,  2176,  128,  17,  28),
    ( 2_007,  2304,  128,  18,  28),
    ( 2_283,  2304,  128,  18,  32),
    ( 2_298,  2560,  128,  20,  26),
    ( 2_639,  2560,  128,  20,  30),
    ( 2_980,  2560,  128,  20,  34),
    ( 3_530,  2688,  128,  22,  36),
    ( 3_802,  2816,  128,  22,  36),
    ( 4_084,  2944,  128,  22,  36),
    ( 4_516,  3072,  128,  24,  36),
    ( 6_796,  3584,  128,  28,  40),
    ( 9_293,  4096,  128,  32,  42),
    (11_452,  4352,  128,  32,  47),
    (12_295,  4608,  128,  36,  44),
    (12_569,  4608,  128,  32,  47),
    (13_735,  4864,  128,  32,  47),
    (14_940,  4992,  128,  32,  49),
    (16_183,  5120,  128,  40,  47),
]
PUBLISHED = {
    **{f"chinchilla_{size}m": _scaling_run(size * 1e6, *shape) for size, *shape in _TABLE_A9},
    #                        layers d_model heads key size
    "chinchilla_70b": recipe(architecture(80, 8192, 64, 128), batch_size=1536, peak_lr=1.0e-4,
                             num_tokens=1.4e12, clip_norm=0.25, doubles=True),
}
_BASE = PUBLISHED["chinchilla_44m"]
FAMILY = {
    "chinchilla_nano":  scaled_down(_BASE, architecture(2, 32, 4, 8), NANO, peak_lr=3e-3),
    # Peaks of 5e-4, 1e-3 and 2e-3 reach 1.882, 1.821 and 1.923 bits per byte, not xz -9's 1.792:
    # see SMALL.
    "chinchilla_small": scaled_down(_BASE, architecture(4, 264, 4, 66), SMALL, peak_lr=1e-3),
    **PUBLISHED,
}
# fmt: on

REPORTED_PARAMS = {
    **{f"chinchilla_{size}m": f"{size}M" for size, *_ in _TABLE_A9},
    "chinchilla_70b": "70B",
}
"""Table A9 (in millions) and Table 4."""

# fmt: off
MIXTURE = (
    # source                      percent, epochs, stand-in
    PublishedSource("MassiveWeb", 45, 1.24, "dolma"),
    PublishedSource("Books",      30, 0.75, "pg19"),
    PublishedSource("C4",         10, 0.77, "c4_en"),
    PublishedSource("News",       10, 0.21, "c4_realnewslike"),
    PublishedSource("GitHub",      4, 0.13, None),
    PublishedSource("Wikipedia",   1,  3.4, "wikipedia_en"),
)
# fmt: on
"""The sources of the training text."""

PAPER = Paper(
    family="Chinchilla",
    title="Training Compute-Optimal Large Language Models",
    authors="Hoffmann et al. 2022",
    reference="arXiv 2203.15556",
    sources={
        "model.vocab_size": "section 4.1: SentencePiece, 32,000 tokens, without NFKC normalisation",
        "model.context_length": "section 4.1: as Gopher",
        "model.num_layers": "Table 4 and Table A9",
        "model.d_model": "Table 4 and Table A9",
        "model.attention": "Table 4 and Table A9: heads and key size; in six rows their product "
        "is not d_model",
        "model.feed_forward": "Table 4 and Table A9: 4 d_model; GELU as Gopher",
        "model.norm": "section 4.1: as Gopher, RMSNorm",
        "model.position": "section 4.1: as Gopher, Transformer-XL's; Table A9's counts need its "
        "parameters",
        "model.layout": "section 4.1: as Gopher, pre-norm",
        "model.tie_embeddings": "section 4.1: as Gopher; Table A9's counts need one table",
        "model.logit_scale": "section 4.1: as Gopher, none",
        "model.stack": "section 4.1: as Gopher",
        "model.embedding_scale": "section 4.1: as Gopher, none",
        "optimizer": "section 4.1: AdamW instead of Gopher's Adam",
        "optimizer.schedule": "section 4.1: Gopher's warm-up, and a cosine to a tenth that ends "
        "with the run",
        "optimizer.schedule.peak_lr": "Table 4: 1e-4 for the 70B; section D.1: from 2e-4 for the "
        "smallest to 1.25e-4 for the largest of Table A9, read as linear in log(parameters)",
        "chinchilla_70b:num_steps": "Table 4: 1.4T tokens",
        "chinchilla_70b:batch_tokens": "Table 4: 3M, read as 1536 sequences",
        "batch_ramp": "Table 4: the 70B's batch doubles midway, from 1.5M tokens, read as after "
        "half of the tokens",
        "data.vocabulary_style": "section 4.1: Gopher's SentencePiece without NFKC normalisation. "
        "The zoo chooses BPE, and keeps white space as it is",
        "seq_len": "section 4.1: as Gopher",
        "param_dtype": "section 4.1: a float32 copy of the weights in the optimizer's state",
        "execution.dtype": "section 4.1: bfloat16 forward and backward",
    },
    not_published={
        **gopher.PAPER.not_published,
        "batch_ramp.until_tokens": "half of the tokens: Table 4 does not say whether midway counts "
        "tokens or steps, nor does the paper say it of the cosine, which here counts steps",
        "num_steps": "for Table A9's models, each of which had several runs: 20 tokens a "
        "parameter, the ratio of the 70B. So 1500 of the smallest one's 1678 steps are warm-up",
        "batch_tokens": "for Table A9's models: 256 sequences, the 0.5M tokens with which section "
        "D.4 compares two models",
        "model.biases": "feed-forward, attention output and logits, none on queries, keys and "
        "values: these give all 50 sizes of Table A9 (and 43 finer ones that Besiroglu et al. 2024 "
        "read off the paper's figure)",
        "optimizer.weight_decay": "0.1, GPT-3's",
        "optimizer.decays": "embeddings and kernels, as in the zoo's GPT-3",
        "optimizer.clip_norm": "Gopher's rule: 1, and 0.25 from 7B parameters on",
        "divergence": "the run ends at a number that is not finite, and warns of a spike",
    },
    reasons={
        "num_steps": "model size and training tokens should grow in equal proportion",
        "optimizer.weight_decay": "AdamW improves the loss and the results after finetuning",
        "optimizer.schedule": "a cosine longer than the run leaves the loss higher than it need be",
        "param_dtype": "Gopher's bfloat16 parameters had turned out worse than a float32 copy",
    },
    mixture=MIXTURE,
    mixture_source="Table A1, with the epochs of the 70B's 1.4T tokens",
)
