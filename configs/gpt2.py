"""GPT-2: Language Models are Unsupervised Multitask Learners (Radford et al. 2019).

The sizes are from Table 2, the choices from section 2.3 and the released code (openai/gpt-2,
src/model.py). The names carry the released counts. The paper gives no recipe beyond 512 x 1024
tokens per step; this one is GPT-3's (Brown et al. 2020, appendix B). `gpt2_small` takes minutes on
a laptop and reaches 1.906 bits per byte on the Python standard library (three seeds, 3 to 7 minutes
each on one core of an AMD EPYC):

    python -m zoo.train --model=gpt2_small
"""

from dataclasses import replace

from configs import recipes
from configs.experiment import Experiment
from configs.paper import Paper
from configs.scaled import NANO, SMALL, scaled_down
from data.config import PublishedSource
from models.config import Attention, FeedForward, LayerNorm, Learned, ModelConfig, Normal
from models.execution import Execution


def architecture(num_layers: int, d_model: int, num_heads: int) -> ModelConfig:
    """Return section 2.3's model: GPT-1 with norms on the inputs of the sub-blocks and at the end.

    GPT-3, Jurassic-1 and Megatron-Turing NLG start from it.
    """
    return ModelConfig(
        vocab_size=50_257,
        context_length=1024,
        num_layers=num_layers,
        d_model=d_model,
        attention=Attention(
            num_heads=num_heads, num_kv_heads=num_heads, head_dim=d_model // num_heads
        ),
        feed_forward=FeedForward(d_ff=4 * d_model, kind="gelu"),
        norm=LayerNorm(eps=1e-5),
        position=Learned(),
        layout="pre_norm",
        biases=("qkv", "attention_output", "feed_forward", "norm"),
        tie_embeddings=True,
        init=Normal(std=0.02, position_std=0.01, residual="scaled_by_depth"),
        dropout_rate=0.0,
    )


def recipe(model: ModelConfig, *, peak_lr: float) -> Experiment:
    """Return GPT-3's recipe with section 2.3's batch and a cosine that ends with the run."""
    run = recipes.gpt3(model, batch_size=512, peak_lr=peak_lr, ramp_tokens=None, decay_tokens=None)
    return replace(run, execution=Execution())


# fmt: off
PUBLISHED = {
    #                          layers d_model heads
    "gpt2_124m":  recipe(architecture(12,  768, 12), peak_lr=6.0e-4),
    "gpt2_355m":  recipe(architecture(24, 1024, 16), peak_lr=3.0e-4),
    "gpt2_774m":  recipe(architecture(36, 1280, 20), peak_lr=2.5e-4),
    "gpt2_1558m": recipe(architecture(48, 1600, 25), peak_lr=2.0e-4),
}
_BASE = PUBLISHED["gpt2_124m"]
FAMILY = {
    "gpt2_nano":  scaled_down(_BASE, architecture(2, 32, 4), NANO, peak_lr=3e-3),
    # Peaks of 5e-4, 1e-3 and 2e-3 reach 1.956, 1.912 and 2.001 bits per byte, not xz -9's 1.792:
    # see SMALL.
    "gpt2_small": scaled_down(_BASE, architecture(4, 272, 4), SMALL, peak_lr=1e-3),
    **PUBLISHED,
}
# fmt: on

REPORTED_PARAMS = {
    "gpt2_124m": "124M",
    "gpt2_355m": "355M",
    "gpt2_774m": "774M",
    "gpt2_1558m": "1558M",
}
"""The README and the model card of openai/gpt-2."""

_MISPRINT = (
    "the paper's Table 2 prints {}; OpenAI's README says that its counts were wrong due to an "
    "error. All four follow if the vocabulary is taken to be GPT-1's 40,478 entries"
)
# fmt: off
MIXTURE = (
    # source                   percent, epochs, stand-in
    PublishedSource("WebText", 100, None, "c4_webtextlike"),
)
# fmt: on
"""The sources of the training text."""

PAPER = Paper(
    family="GPT-2",
    title="Language Models are Unsupervised Multitask Learners",
    authors="Radford et al. 2019",
    reference="https://openai.com/research/better-language-models",
    sources={
        "model.vocab_size": "section 2.3: 256 bytes, 50,000 merges and the end of text",
        "model.context_length": "section 2.3",
        "model.num_layers": "Table 2",
        "model.d_model": "Table 2",
        "model.attention": "src/model.py and the released checkpoints: heads of 64, scores / "
        "sqrt(64)",
        "model.feed_forward": "src/model.py: 4 d_model, GELU in its tanh form",
        "model.norm": "src/model.py: LayerNorm with gain and bias, eps 1e-5",
        "model.position": "src/model.py: learned",
        "model.layout": "section 2.3: pre-norm, and a norm after the last layer",
        "model.biases": "src/model.py: in every dense layer and norm; no bias on the logits",
        "model.tie_embeddings": "src/model.py",
        "model.logit_scale": "src/model.py: none",
        "model.stack": "section 2.3: as GPT-1, a decoder",
        "model.embedding_scale": "src/model.py: none",
        "model.init": "src/model.py: N(0, 0.02), positions N(0, 0.01)",
        "model.init.residual": "section 2.3: residual layers scaled by 1/sqrt(N), where N is their "
        "number, read as 2 num_layers: two additions per layer. src/model.py has no such scaling",
        "data.vocabulary_style": "section 2.2 and src/encoder.py: byte-level BPE, no merges "
        "across categories of characters, one end-of-text token",
        "seq_len": "section 2.3",
        "batch_tokens": "section 2.3: 512 sequences of 1024 tokens",
    },
    not_published={
        "batch_ramp": "none: section 2.3 gives one batch size",
        "model.dropout_rate": "0: neither the paper nor the code has dropout (section 3: the "
        "models underfit)",
        "optimizer": "GPT-3's Adam with decoupled decay (Brown et al. 2020, appendix B)",
        "optimizer.decays": "embeddings and kernels, as the released code of GPT-1 (opt.py) does",
        "optimizer.schedule": "GPT-3's warm-up over 375M tokens and cosine to 10 %",
        "optimizer.schedule.peak_lr": "GPT-3's for the nearest size; the paper tuned it by hand "
        "for each size on a held-out 5 % (section 3) and does not give the values",
        "num_steps": "GPT-3's 300B tokens",
        "z_loss": "none: the paper mentions no such term",
        "param_dtype": "float32, as in the released checkpoints",
        "execution.dtype": "the device's best: bfloat16 on accelerators, float32 on CPUs",
        "data.packing": "unmasked, as in GPT-3; src/model.py has no mask but the causal one",
        "divergence": "the run ends at a number that is not finite, and warns of a spike",
    },
    reasons={
        "model.init.residual": "accounts for the accumulation on the residual path with depth",
        "model.vocab_size": "bytes as the base vocabulary let the model score any Unicode string",
    },
    mixture=MIXTURE,
    mixture_source="section 2.1: WebText alone; the number of epochs is not published",
    mismatches={
        "gpt2_124m": _MISPRINT.format("117M"),
        "gpt2_355m": _MISPRINT.format("345M"),
        "gpt2_774m": _MISPRINT.format("762M"),
        "gpt2_1558m": _MISPRINT.format("1542M"),
    },
)
