"""GPT-1: Improving Language Understanding by Generative Pre-Training (Radford et al. 2018).

The model and its pre-training are from section 4.1; the model's code (train.py) and the shapes of
its parameters (model/params_shapes.json) are from openai/finetune-transformer-lm. The paper's run
took a month on eight P600 GPUs; `gpt1_small` takes minutes on a laptop and reaches 2.002 bits per
byte on the Python standard library (three seeds, 3 to 7 minutes each on one core of an AMD EPYC):

    python -m zoo.train --model=gpt1_small
"""

from configs.experiment import Experiment
from configs.paper import Paper
from configs.parts.optimizers import RateCorrectedAdam, WarmupCosine
from configs.scaled import NANO, SMALL, scaled_down
from data.config import Data, PublishedSource
from models.config import Attention, FeedForward, LayerNorm, Learned, ModelConfig, Normal


def architecture(num_layers: int, d_model: int, num_heads: int) -> ModelConfig:
    """Return section 4.1's model: Vaswani et al.'s decoder with learned positions and GELU."""
    return ModelConfig(
        vocab_size=40_478,
        context_length=512,
        num_layers=num_layers,
        d_model=d_model,
        attention=Attention(
            num_heads=num_heads, num_kv_heads=num_heads, head_dim=d_model // num_heads
        ),
        feed_forward=FeedForward(d_ff=4 * d_model, kind="gelu"),
        norm=LayerNorm(eps=1e-5),
        position=Learned(),
        layout="post_norm",
        biases=("qkv", "attention_output", "feed_forward", "norm"),
        tie_embeddings=True,
        init=Normal(std=0.02),
        dropout_rate=0.1,
        embedding_dropout="tables",
    )


def recipe(model: ModelConfig, *, batch_size: int, peak_lr: float) -> Experiment:
    """Return section 4.1's training run."""
    batch_tokens = batch_size * 512
    return Experiment(
        model=model,
        data=Data(packing="unmasked", vocabulary_style="gpt1"),
        optimizer=RateCorrectedAdam(
            schedule=WarmupCosine(peak_lr=peak_lr, warmup_steps=2000, final_fraction=0.0),
            beta1=0.9,
            beta2=0.999,
            eps=1e-8,
            weight_decay=0.01,
            decays="matrices",
            clip_norm=1.0,
        ),
        num_steps=round(100 * 1e9 / batch_tokens),
        batch_tokens=batch_tokens,
        seq_len=512,
    )


# fmt: off
PUBLISHED = {
    #                         layers d_model heads
    "gpt1_117m": recipe(architecture(12, 768, 12), batch_size=64, peak_lr=2.5e-4),
}
_BASE = PUBLISHED["gpt1_117m"]
FAMILY = {
    "gpt1_nano":  scaled_down(_BASE, architecture(2, 32, 4), NANO, peak_lr=3e-3),
    # Peaks of 1.25e-4, 2.5e-4 and 5e-4 reach 2.118, 2.010 and 2.396 bits per byte of lower-case
    # text, not xz -9's 1.719: see SMALL. The recipe's dropout costs much in such a short run.
    "gpt1_small": scaled_down(_BASE, architecture(4, 272, 4), SMALL, peak_lr=2.5e-4),
    **PUBLISHED,
}
# fmt: on

REPORTED_PARAMS = {"gpt1_117m": "117M"}
"""The usual name, since the paper prints no count. The released shapes sum to 116,534,784."""

# fmt: off
MIXTURE = (
    # source                       percent, epochs, stand-in
    PublishedSource("BooksCorpus", 100, 100, "pg19"),
)
# fmt: on
"""The sources of the training text."""

PAPER = Paper(
    family="GPT-1",
    title="Improving Language Understanding by Generative Pre-Training",
    authors="Radford et al. 2018",
    reference="https://openai.com/research/language-unsupervised",
    sources={
        "model.vocab_size": "model/encoder_bpe_40000.json: 40,000 merges (section 4.1), 40,478 "
        "entries",
        "model.context_length": "section 4.1: contiguous sequences of 512 tokens",
        "model.num_layers": "section 4.1",
        "model.d_model": "section 4.1",
        "model.attention": "section 4.1 and train.py: causal, 12 heads, scores / sqrt(64)",
        "model.feed_forward": "section 4.1: 3072 inner dimensions, GELU; the tanh form is "
        "train.py's",
        "model.norm": "train.py: LayerNorm with gain and bias, eps 1e-5",
        "model.position": "section 4.1: learned, not sinusoidal",
        "model.layout": "train.py: n = N(x + A(x)), y = N(n + F(n)), and no norm after the last "
        "layer",
        "model.biases": "model/params_shapes.json: in every dense layer and norm; no bias on the "
        "logits",
        "model.tie_embeddings": "train.py",
        "model.logit_scale": "train.py: none",
        "model.stack": "section 3.1: a multi-layer Transformer decoder",
        "model.embedding_scale": "train.py: none",
        "model.init": "section 4.1: N(0, 0.02)",
        "model.dropout_rate": "section 4.1: 0.1 on embeddings, attention weights and residuals",
        "model.embedding_dropout": "train.py: entries of the table of tokens and positions; each "
        "GPU, here each micro-batch, draws its own",
        "optimizer": "section 4.1: Adam with decay 0.01. The form is opt.py's: the bias correction "
        "multiplies the rate, and with it the decay, and eps is not corrected",
        "optimizer.decays": "section 4.1: all weights that are neither biases nor gains",
        "optimizer.schedule": "section 4.1: 2000 warm-up steps to 2.5e-4, then a cosine to 0",
        "data.vocabulary_style": "section 4.1 and text_utils.py: byte pairs inside lower-case "
        "words that end in </w>, after cleaning by ftfy and the authors' own rules; no marks of "
        "documents. Rules of our own (data/vocabularies/byte_pairs.py) stand in for ftfy and for "
        "spaCy's words: they repair no mojibake and know no abbreviations",
        "seq_len": "section 4.1",
        "batch_tokens": "section 4.1: 64 sequences of 512 tokens",
        "data.packing": "section 4.1: contiguous sequences; train.py has no mask but the causal "
        "one. The paper's are drawn at random; here they are disjoint, in a new order in each "
        "epoch",
    },
    not_published={
        "batch_ramp": "none: the paper gives one batch size",
        "optimizer.beta1": "0.9, the default of the released fine-tuning code (opt.py)",
        "optimizer.beta2": "0.999, the default of the released fine-tuning code (opt.py)",
        "optimizer.eps": "1e-8, the default of the released fine-tuning code (opt.py)",
        "optimizer.clip_norm": "1, as in the released fine-tuning code (train.py)",
        "num_steps": "100 epochs of BooksCorpus, whose size in tokens the paper does not give; "
        "taken as 1e9 per epoch, from the 800M words that Devlin et al. 2018 count",
        "z_loss": "none: the paper mentions no such term",
        "param_dtype": "float32, TensorFlow's default, which train.py uses",
        "execution.dtype": "the device's best: bfloat16 on accelerators, float32 on CPUs",
        "divergence": "the run ends at a number that is not finite, and warns of a spike",
    },
    reasons={
        "model.init": "LayerNorm is used throughout the model, so a plain N(0, 0.02) suffices",
        "model.dropout_rate": "regularisation",
    },
    mixture=MIXTURE,
    mixture_source="section 4.1: BooksCorpus alone, for 100 epochs",
)
