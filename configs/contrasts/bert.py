"""BERT: Pre-training of Deep Bidirectional Transformers (Devlin et al. 2018).

The text sees itself from both sides: the model predicts tokens that are hidden, and whether one
sentence follows another. It gives a text no probability and cannot write one.

    python -m zoo.train --model=bert_small
"""

from configs.experiment import Experiment
from configs.paper import Paper
from configs.parts.objectives import MaskedTokens
from configs.parts.optimizers import UncorrectedAdam, WarmupLinear
from configs.scaled import NANO, SMALL, Budget, scaled_down
from data.config import Data, PublishedSource
from models.config import (
    Attention,
    Encoder,
    FeedForward,
    LayerNorm,
    Learned,
    ModelConfig,
    TruncatedNormal,
)


def architecture(num_layers: int, d_model: int, num_heads: int) -> ModelConfig:
    """Return section 3's model: Vaswani et al.'s encoder with learned positions and GELU."""
    return ModelConfig(
        vocab_size=30_522,
        context_length=512,
        num_layers=num_layers,
        d_model=d_model,
        attention=Attention(
            num_heads=num_heads, num_kv_heads=num_heads, head_dim=d_model // num_heads
        ),
        feed_forward=FeedForward(d_ff=4 * d_model, kind="gelu_erf"),
        norm=LayerNorm(eps=1e-12),
        position=Learned(),
        layout="post_norm",
        biases=("qkv", "attention_output", "feed_forward", "norm", "logits"),
        tie_embeddings=True,
        init=TruncatedNormal(std=0.02),
        dropout_rate=0.1,
        stack=Encoder(),
    )


def recipe(model: ModelConfig) -> Experiment:
    """Return appendix A.2's training run, with sequences of full length in all steps."""
    return Experiment(
        model=model,
        objective=MaskedTokens(cls_id=101, sep_id=102, mask_id=103),
        data=Data(packing="unmasked"),
        optimizer=UncorrectedAdam(
            schedule=WarmupLinear(peak_lr=1e-4, warmup_steps=10_000),
            beta1=0.9,
            beta2=0.999,
            eps=1e-6,
            weight_decay=0.01,
            decays="matrices",
            clip_norm=1.0,
        ),
        num_steps=1_000_000,
        batch_tokens=256 * 512,
        seq_len=512,
    )


def scaled(model: ModelConfig, budget: Budget, peak_lr: float) -> Experiment:
    """Return a run of `model` whose marks are the last ids of the table.

    The vocabulary, which is trained on the text, ends before them.
    """
    last = budget.vocab_size - 1
    return scaled_down(
        _BASE,
        model,
        budget,
        peak_lr=peak_lr,
        objective=MaskedTokens(cls_id=last - 2, sep_id=last - 1, mask_id=last),
        vocabulary_size=last - 2,
    )


# fmt: off
PUBLISHED = {
    #                         layers d_model heads
    "bert_base":  recipe(architecture(12, 768, 12)),
    "bert_large": recipe(architecture(24, 1024, 16)),
}
_BASE = PUBLISHED["bert_base"]
FAMILY = {
    "bert_nano":  scaled(architecture(2, 32, 4), NANO, peak_lr=3e-3),
    # It reaches 6.330 nats per hidden token; peaks of 2.5e-4, 5e-4 and 1e-3 learn no more than the
    # frequencies of tokens (6.560, 6.574 and 6.576).
    "bert_small": scaled(architecture(4, 268, 4), SMALL, peak_lr=1e-4),
    **PUBLISHED,
}
# fmt: on

REPORTED_PARAMS = {"bert_base": "110M", "bert_large": "340M"}
"""Section 3. The counts here include both heads."""

# fmt: off
MIXTURE = (
    # source                            percent, epochs, stand-in
    PublishedSource("English Wikipedia", 76, 40, "wikipedia"),
    PublishedSource("BooksCorpus",       24, 40, "pg19"),
)
# fmt: on
"""The sources of the training text."""

PAPER = Paper(
    family="BERT",
    title="BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding",
    authors="Devlin et al. 2018",
    reference="arXiv 1810.04805",
    sources={
        "model.vocab_size": "the released vocab.txt: 30,522 WordPieces, lower-case",
        "model.context_length": "appendix A.2: sequences of 512 tokens",
        "model.num_layers": "section 3",
        "model.d_model": "section 3",
        "model.attention": "section 3 and modeling.py: heads of 64, dense, to both sides",
        "model.feed_forward": "section 3: 4 d_model; appendix A.2: GELU, in the exact form of the "
        "first release",
        "model.norm": "modeling.py: LayerNorm with gain and bias, of eps 1e-12, also after the "
        "embedding",
        "model.position": "modeling.py: learned, 512 of them",
        "model.stack": "section 3 and modeling.py: an encoder, with two segment vectors; "
        "run_pretraining.py: both heads",
        "model.layout": "modeling.py: each sum is normalised",
        "model.biases": "modeling.py and run_pretraining.py: everywhere, and on the logits",
        "model.tie_embeddings": "run_pretraining.py",
        "model.logit_scale": "run_pretraining.py: none",
        "model.embedding_scale": "modeling.py: none",
        "model.init": "modeling.py: truncated normal, 0.02",
        "model.dropout_rate": "appendix A.2: 0.1 in all layers",
        "model.embedding_dropout": "modeling.py: the vectors, after their norm",
        "objective": "section 3.1 and appendix A.1: 15 % of the tokens are predicted, of which "
        "80 % are replaced by [MASK] and 10 % by a random token; half of the second sentences "
        "follow the first. Here both are random cuts of a row, and the marks have their ids in "
        "vocab.txt",
        "optimizer": "appendix A.2: Adam with decay 0.01. The form is optimization.py's, without "
        "bias correction, and its eps of 1e-6",
        "optimizer.decays": "optimization.py: all but biases and the parameters of norms",
        "optimizer.clip_norm": "optimization.py: 1",
        "optimizer.schedule": "appendix A.2: 10,000 warm-up steps to 1e-4, then linearly to 0",
        "num_steps": "appendix A.2: 1,000,000",
        "batch_tokens": "appendix A.2: 256 sequences of 512 tokens",
        "seq_len": "appendix A.2. The paper's first 900,000 steps have 128 tokens; here all have "
        "512",
        "data.packing": "appendix A.2: full sequences of contiguous text",
    },
    not_published={
        "batch_ramp": "none: the paper gives one batch size",
        "data.vocabulary_style": "PaLM's SentencePiece, as all contrasts have here, so that they "
        "can be compared; the paper's is WordPiece on lower-case text",
        "z_loss": "none: the paper mentions no such term",
        "param_dtype": "float32, TensorFlow's default",
        "execution.dtype": "the device's best: bfloat16 on accelerators, float32 on CPUs",
        "divergence": "the run ends at a number that is not finite, and warns of a spike",
    },
    reasons={
        "model.stack": "a token that sees one side only is at a loss where context from both "
        "sides matters, as in answering questions",
        "objective": "a token that saw both sides would see itself, so some are hidden",
    },
    mixture=MIXTURE,
    mixture_source="section 3.1: 2,500M words of Wikipedia and 800M of BooksCorpus; appendix A.2: "
    "about 40 epochs",
    mismatches={
        "bert_large": "340M is a rounded name; the exact count is 335.1M without the two heads",
    },
)
