"""The Transformer: Attention Is All You Need (Vaswani et al. 2017).

An encoder reads one text and a decoder writes another one: the paper translates. The zoo has no
pairs of texts; its models read the first half of a text and write the second.

    python -m zoo.train --model=transformer_small
"""

import math

from configs.experiment import Experiment
from configs.paper import Paper
from configs.parts.objectives import Continuation
from configs.parts.optimizers import AdamW, WarmupInverseSquareRoot
from configs.scaled import NANO, SMALL, scaled_down
from data.config import Data, PublishedSource
from models.config import (
    Attention,
    EncoderDecoder,
    FanIn,
    FeedForward,
    LayerNorm,
    ModelConfig,
    Sinusoidal,
)


def architecture(
    num_layers: int, d_model: int, num_heads: int, *, dropout_rate: float
) -> ModelConfig:
    """Return section 3's model, with as many layers in each of its stacks."""
    return ModelConfig(
        vocab_size=37_000,
        context_length=512,
        num_layers=num_layers,
        d_model=d_model,
        attention=Attention(
            num_heads=num_heads, num_kv_heads=num_heads, head_dim=d_model // num_heads
        ),
        feed_forward=FeedForward(d_ff=4 * d_model, kind="relu"),
        norm=LayerNorm(eps=1e-6),
        position=Sinusoidal(),
        layout="post_norm",
        biases=("feed_forward", "norm"),
        tie_embeddings=True,
        embedding_scale="sqrt_d_model",
        init=FanIn(embedding_std=d_model**-0.5),
        dropout_rate=dropout_rate,
        stack=EncoderDecoder(num_encoder_layers=num_layers),
    )


def recipe(model: ModelConfig, *, num_steps: int) -> Experiment:
    """Return section 5's training run on the zoo's task."""
    return Experiment(
        model=model,
        objective=Continuation(),
        data=Data(packing="unmasked"),
        optimizer=AdamW(
            schedule=WarmupInverseSquareRoot(
                peak_lr=1 / math.sqrt(model.d_model * 4000), warmup_steps=4000
            ),
            beta1=0.9,
            beta2=0.98,
            eps=1e-9,
            weight_decay=0.0,
            clip_norm=None,
        ),
        num_steps=num_steps,
        batch_tokens=98 * 512,
        seq_len=512,
    )


# fmt: off
PUBLISHED = {
    #                                       layers d_model heads
    "transformer_base": recipe(architecture(6, 512, 8, dropout_rate=0.1), num_steps=100_000),
    "transformer_big":  recipe(architecture(6, 1024, 16, dropout_rate=0.3), num_steps=300_000),
}
_BASE = PUBLISHED["transformer_base"]
FAMILY = {
    "transformer_nano":  scaled_down(
        _BASE, architecture(1, 32, 4, dropout_rate=0.1), NANO, peak_lr=3e-3),
    # Peaks of 2.5e-4, 5e-4, 1e-3 and 2e-3 reach 5.700, 5.413, 5.157 and 5.121 nats per token of
    # the second part, the last with spikes.
    "transformer_small": scaled_down(
        _BASE, architecture(2, 256, 4, dropout_rate=0.1), SMALL, peak_lr=1e-3),
    **PUBLISHED,
}
# fmt: on

REPORTED_PARAMS = {"transformer_base": "65M", "transformer_big": "213M"}
"""Table 3."""

MIXTURE = (PublishedSource("WMT 2014 English-German", 100),)
"""The sources of the training text."""

PAPER = Paper(
    family="Transformer",
    title="Attention Is All You Need",
    authors="Vaswani et al. 2017",
    reference="arXiv 1706.03762",
    sources={
        "model.vocab_size": "section 5.1: about 37,000 tokens, shared by both languages",
        "model.num_layers": "Table 3",
        "model.d_model": "Table 3",
        "model.attention": "Table 3 and section 3.2.2: heads of 64, dense",
        "model.feed_forward": "Table 3 and section 3.3: 4 d_model, ReLU",
        "model.norm": "section 3.1: LayerNorm",
        "model.position": "section 3.5: sinusoids; learned ones gave the same (Table 3, row E)",
        "model.stack": "section 3.1: as many layers in the encoder as in the decoder",
        "model.layout": "section 3.1: N(x + sub-layer(x))",
        "model.tie_embeddings": "section 3.4: both embeddings and the output matrix are one",
        "model.logit_scale": "section 3.4: none",
        "model.embedding_scale": "section 3.4: sqrt(d_model)",
        "model.dropout_rate": "section 5.4: 0.1; big: 0.3",
        "optimizer": "section 5.3: Adam, with neither decay nor clipping",
        "optimizer.schedule": "section 5.3, equation 3: 4,000 warm-up steps",
        "num_steps": "section 5.2: 100,000 and 300,000",
        "batch_tokens": "section 5.1: about 25,000 source and 25,000 target tokens",
    },
    not_published={
        "model.context_length": "512: the paper batches sentences of similar length",
        "seq_len": "512, of which the encoder reads the first half",
        "objective": "the second half of a text from the first: the paper translates pairs of "
        "sentences, with a label smoothing of 0.1 that is left out here, since it would make the "
        "loss no code length",
        "model.norm.eps": "1e-6, that of the authors' code",
        "model.biases": "in feed-forward layers (equation 2) and norms; the projections of "
        "attention are written without (section 3.2.2)",
        "model.init": "by fan-in; embeddings of std 1 / sqrt(d_model), so that the scaled ones "
        "have std 1, as in the authors' code",
        "model.embedding_dropout": "the vectors",
        "optimizer.decays": "nothing decays",
        "batch_ramp": "none: the paper gives one batch size",
        "data.packing": "full rows of contiguous text: the paper has pairs of sentences",
        "data.vocabulary_style": "PaLM's SentencePiece, as all contrasts have here, so that they "
        "can be compared; the paper's is BPE",
        "z_loss": "none: the paper mentions no such term",
        "param_dtype": "float32, TensorFlow's default",
        "execution.dtype": "the device's best: bfloat16 on accelerators, float32 on CPUs",
        "divergence": "the run ends at a number that is not finite, and warns of a spike",
    },
    reasons={
        "model.position": "sinusoids may extend to lengths beyond those of training",
    },
    mixture=MIXTURE,
    mixture_source="section 5.1: 4.5 million pairs of sentences",
    mismatches={
        "transformer_base": "63.0M with 37,000 tokens; the printed counts of Table 3's base rows "
        "need about 41,100",
        "transformer_big": "214.2M with 37,000 tokens; 213M needs about 35,900, so that no one "
        "vocabulary gives both",
    },
)
