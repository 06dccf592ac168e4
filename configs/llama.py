"""LLaMA: Open and Efficient Foundation Language Models (Touvron et al. 2023, arXiv 2302.13971).

The sizes, batch, learning rates and numbers of tokens are from Table 2, the choices from section
2.2, the training from section 2.3. What the weights need and the paper leaves out is from
facebookresearch/llama (llama/model.py). The 65B was trained on 2048 A100 GPUs in three weeks;
`llama_small` takes minutes on a laptop and reaches 1.827 bits per byte on the Python standard
library (three seeds, 3 to 7 minutes each on one core of an AMD EPYC):

    python -m zoo.train --model=llama_small
"""

from configs.experiment import Experiment
from configs.paper import Paper
from configs.parts.optimizers import AdamW, WarmupCosine
from configs.scaled import NANO, SMALL, scaled_down
from data.config import Data, PublishedSource
from models.config import Attention, FeedForward, ModelConfig, Normal, RMSNorm, Rotary
from models.execution import Execution


def architecture(
    num_layers: int, d_model: int, num_heads: int, *, eps: float = 1e-6, multiple_of: int = 256
) -> ModelConfig:
    """Return section 2.2's model: pre-norm with RMSNorm, SwiGLU and rotary positions.

    Args:
      eps: epsilon of the norms, which differs between the released sizes.
      multiple_of: d_ff is 2/3 of 4 d_model, rounded up to a multiple of this.
    """
    return ModelConfig(
        vocab_size=32_000,
        context_length=2048,
        num_layers=num_layers,
        d_model=d_model,
        attention=Attention(
            num_heads=num_heads, num_kv_heads=num_heads, head_dim=d_model // num_heads
        ),
        feed_forward=FeedForward(
            d_ff=-(-8 * d_model // (3 * multiple_of)) * multiple_of, kind="swiglu"
        ),
        norm=RMSNorm(eps=eps),
        position=Rotary(theta=10_000.0),
        layout="pre_norm",
        biases=(),
        tie_embeddings=False,
        init=Normal(std=0.02, residual="scaled_by_depth"),
        dropout_rate=0.0,
    )


def recipe(model: ModelConfig, *, peak_lr: float, num_tokens: float) -> Experiment:
    """Return section 2.3's training run."""
    batch_tokens = 2048 * 2048
    return Experiment(
        model=model,
        data=Data(packing="unmasked", vocabulary_style="llama"),
        optimizer=AdamW(
            schedule=WarmupCosine(peak_lr=peak_lr, warmup_steps=2000, final_fraction=0.1),
            beta1=0.9,
            beta2=0.95,
            eps=1e-8,
            weight_decay=0.1,
            clip_norm=1.0,
        ),
        num_steps=round(num_tokens / batch_tokens),
        batch_tokens=batch_tokens,
        seq_len=2048,
        execution=Execution(dtype="bfloat16", remat="full"),
    )


# fmt: off
PUBLISHED = {
    #                         layers d_model heads
    "llama_7b":  recipe(architecture(32, 4096, 32),           peak_lr=3.0e-4, num_tokens=1.0e12),
    "llama_13b": recipe(architecture(40, 5120, 40),           peak_lr=3.0e-4, num_tokens=1.0e12),
    "llama_33b": recipe(architecture(60, 6656, 52),           peak_lr=1.5e-4, num_tokens=1.4e12),
    "llama_65b": recipe(architecture(80, 8192, 64, eps=1e-5), peak_lr=1.5e-4, num_tokens=1.4e12),
}
_BASE = PUBLISHED["llama_7b"]
FAMILY = {
    "llama_nano":  scaled_down(_BASE, architecture(2, 32, 4, multiple_of=8), NANO, peak_lr=3e-3),
    # Peaks of 7e-4, 1e-3 and 2e-3 reach 1.826, 1.811 and 1.848 bits per byte, not xz -9's 1.792:
    # see SMALL.
    "llama_small": scaled_down(_BASE, architecture(4, 240, 4, multiple_of=64), SMALL, peak_lr=1e-3),
    **PUBLISHED,
}
# fmt: on

REPORTED_PARAMS = {
    "llama_7b": "6.7B",
    "llama_13b": "13.0B",
    "llama_33b": "32.5B",
    "llama_65b": "65.2B",
}
"""Table 2, which truncates instead of rounding."""

# fmt: off
MIXTURE = (
    # source                                   percent, epochs, stand-in
    PublishedSource("CommonCrawl, English",    67.0,  1.1, "c4_en_noclean"),
    PublishedSource("C4",                      15.0, 1.06, "c4_en"),
    PublishedSource("GitHub",                   4.5, 0.64, None),
    PublishedSource("Wikipedia, 20 languages",  4.5, 2.45, "wikipedia_en"),
    PublishedSource("Gutenberg and Books3",     4.5, 2.23, "pg19"),
    PublishedSource("arXiv",                    2.5, 1.06, "arxiv"),
    PublishedSource("Stack Exchange",           2.0, 1.03, None),
)
# fmt: on
"""The sources of the training text."""

PAPER = Paper(
    family="LLaMA",
    title="LLaMA: Open and Efficient Foundation Language Models",
    authors="Touvron et al. 2023",
    reference="arXiv 2302.13971",
    sources={
        "model.vocab_size": "the released tokenizer: SentencePiece BPE, 32,000 tokens (section "
        "2.1 gives no number)",
        "model.context_length": "llama/model.py: max_seq_len 2048",
        "model.num_layers": "Table 2",
        "model.d_model": "Table 2",
        "model.attention": "Table 2: heads, of 128; llama/model.py: as many key and value heads as "
        "query heads, dense in every layer",
        "model.feed_forward": "section 2.2: SwiGLU of 2/3 4 d_model, rounded up to a multiple of "
        "256 in llama/model.py",
        "model.norm": "section 2.2: RMSNorm",
        "model.norm.eps": "the checkpoints' params.json: 1e-6, and 1e-5 for the 65B; the paper "
        "gives none",
        "model.position": "section 2.2: rotary, in every layer; base 10,000 in llama/model.py",
        "model.layout": "section 2.2: pre-norm; llama/model.py: a norm after the last layer",
        "model.biases": "llama/model.py: none",
        "model.tie_embeddings": "llama/model.py: a separate output matrix, which Table 2's counts "
        "need",
        "model.logit_scale": "llama/model.py: none",
        "model.stack": "llama/model.py: a decoder",
        "model.embedding_scale": "llama/model.py: none",
        "optimizer": "section 2.3: AdamW with betas 0.9 and 0.95, decay 0.1, clipping at 1",
        "optimizer.schedule": "section 2.3: 2000 warm-up steps, cosine to 10 %",
        "optimizer.schedule.peak_lr": "Table 2",
        "num_steps": "Table 2: 1.0T tokens for the 7B and 13B, 1.4T for the 33B and 65B",
        "batch_tokens": "Table 2: 4M tokens, read as 2048 sequences of 2048",
        "data.vocabulary_style": "section 2.1: SentencePiece BPE, every digit a token of its own, "
        "bytes for unknown characters; the released tokenizer.model: ids, coverage, and a space "
        "before the text",
        "seq_len": "llama/model.py: max_seq_len 2048",
    },
    not_published={
        "batch_ramp": "none: the paper gives one batch size",
        "model.init": "GPT-2's rule",
        "model.dropout_rate": "0: the released code has none",
        "optimizer.eps": "1e-8, Adam's default",
        "optimizer.decays": "embeddings and kernels, as in the zoo's GPT-3",
        "param_dtype": "float32",
        "z_loss": "none: the paper mentions no such term",
        "execution.dtype": "bfloat16 products and activations",
        "data.packing": "unmasked, as in GPT-3; llama/model.py has no mask but the causal one",
        "divergence": "the run ends at a number that is not finite, and warns of a spike",
    },
    reasons={
        "model.layout": "normalising the input of each sub-layer makes training more stable",
        "model.feed_forward": "SwiGLU performs better than ReLU",
        "num_steps": "smaller models trained for longer are cheaper to serve than larger ones of "
        "the same quality",
    },
    mixture=MIXTURE,
    mixture_source="Table 1, with the epochs of a run of 1.4T tokens",
    mismatches={
        "llama_65b": "65,285,660,672 parameters: Table 2 truncates to 65.2B; rounding gives 65.3B",
    },
)
