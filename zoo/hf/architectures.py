"""The Hugging Face architectures that the zoo reads and writes.

Each one translates the keys of its config.json to a ModelConfig and back, with the defaults that
`transformers` has.
"""

from typing import Any

from models.config import (
    Attention,
    FeedForward,
    LayerNorm,
    Learned,
    ModelConfig,
    Normal,
    RMSNorm,
    Rotary,
    SlowedRotation,
)
from zoo.common.errors import CheckpointError
from zoo.hf.architecture import FIXED, Architecture, Config, dropout_rate, std
from zoo.hf.bert import BERT

# --- GPT-1 and GPT-2 ---------------------------------------------------------------------------

_GPT_DROPOUT = ("embd_pdrop", "attn_pdrop", "resid_pdrop")
_GPT_BIASES = ("qkv", "attention_output", "feed_forward", "norm")
_GPT_ALIASES = {
    "hidden_size": "n_embd",
    "max_position_embeddings": "n_positions",
    "num_attention_heads": "n_head",
    "num_hidden_layers": "n_layer",
}
_GPT_DEFAULTS: Config = {
    "n_embd": 768,
    "n_layer": 12,
    "n_head": 12,
    "layer_norm_epsilon": 1e-5,
    "initializer_range": 0.02,
    "resid_pdrop": 0.1,
    "embd_pdrop": 0.1,
    "attn_pdrop": 0.1,
    "tie_word_embeddings": True,
}


def _gpt_to_ours(config: Config, **choices: Any) -> ModelConfig:
    d_model, num_heads = config["n_embd"], config["n_head"]
    return ModelConfig(
        vocab_size=config["vocab_size"],
        context_length=config["n_positions"],
        num_layers=config["n_layer"],
        d_model=d_model,
        attention=Attention(
            num_heads=num_heads,
            num_kv_heads=num_heads,
            head_dim=max(1, d_model // num_heads),
        ),
        norm=LayerNorm(eps=config["layer_norm_epsilon"]),
        position=Learned(),
        biases=_GPT_BIASES,
        tie_embeddings=config["tie_word_embeddings"],
        dropout_rate=dropout_rate(config, *_GPT_DROPOUT),
        **choices,
    )


def _gpt_to_theirs(model: ModelConfig) -> Config:
    return {
        "vocab_size": model.vocab_size,
        "n_positions": model.context_length,
        "n_embd": model.d_model,
        "n_layer": model.num_layers,
        "n_head": model.attention.num_heads,
        "layer_norm_epsilon": model.norm.eps,
        "initializer_range": std(model),
        "resid_pdrop": model.dropout_rate,
        "embd_pdrop": model.dropout_rate,
        "attn_pdrop": model.dropout_rate,
        "tie_word_embeddings": model.tie_embeddings,
    }


def _gpt1_to_ours(config: Config) -> ModelConfig:
    return _gpt_to_ours(
        config,
        layout="post_norm",
        feed_forward=FeedForward(d_ff=4 * config["n_embd"], kind="gelu"),
        init=Normal(std=config["initializer_range"]),
    )


_TANH_GELU = ("gelu_new", "gelu_pytorch_tanh", "gelu_fast")


def _gpt2_to_ours(config: Config) -> ModelConfig:
    activation = config["activation_function"]
    if activation not in (*_TANH_GELU, "gelu"):
        raise CheckpointError(
            f"config.json has activation_function={activation!r}; the zoo has "
            f"{', '.join(_TANH_GELU)} (the tanh form) and gelu (the exact form)"
        )
    return _gpt_to_ours(
        config,
        layout="pre_norm",
        feed_forward=FeedForward(
            d_ff=config["n_inner"] or 4 * config["n_embd"],
            kind="gelu" if activation in _TANH_GELU else "gelu_erf",
        ),
        init=Normal(std=config["initializer_range"], residual="scaled_by_depth"),
    )


def _gpt2_to_theirs(model: ModelConfig) -> Config:
    return _gpt_to_theirs(model) | {
        "n_inner": model.feed_forward.d_ff,
        "activation_function": "gelu" if model.feed_forward.kind == "gelu_erf" else "gelu_new",
    }


# --- LLaMA -------------------------------------------------------------------------------------


def _llama_to_ours(config: Config) -> ModelConfig:
    d_model, num_heads = config["hidden_size"], config["num_attention_heads"]
    return ModelConfig(
        vocab_size=config["vocab_size"],
        context_length=config["max_position_embeddings"],
        num_layers=config["num_hidden_layers"],
        d_model=d_model,
        attention=Attention(
            num_heads=num_heads,
            num_kv_heads=config["num_key_value_heads"] or num_heads,
            head_dim=config["head_dim"] or d_model // num_heads,
        ),
        feed_forward=FeedForward(d_ff=config["intermediate_size"], kind="swiglu"),
        norm=RMSNorm(eps=config["rms_norm_eps"]),
        position=_rotary(config),
        layout="pre_norm",
        biases=(
            *(("qkv", "attention_output") if config["attention_bias"] else ()),
            *(("feed_forward",) if config["mlp_bias"] else ()),
        ),
        tie_embeddings=config["tie_word_embeddings"],
        init=Normal(std=config["initializer_range"]),
        dropout_rate=config["attention_dropout"],
    )


_SLOWED_KEYS = {
    "factor": "factor",
    "slow_turns": "low_freq_factor",
    "fast_turns": "high_freq_factor",
    "original_length": "original_max_position_embeddings",
}


def _rotary(config: Config) -> Rotary:
    """Read `rope_parameters`, of transformers 5, or the older `rope_theta` and `rope_scaling`."""
    key = "rope_scaling" if config["rope_scaling"] else "rope_parameters"
    rope = {"rope_theta": config["rope_theta"]} | (config[key] or {})
    kind = rope.pop("rope_type", rope.pop("type", "default"))
    theta = float(rope.pop("rope_theta"))
    if kind == "default" and not any(rope.values()):
        return Rotary(theta=theta)
    if kind == "llama3" and rope.keys() == set(_SLOWED_KEYS.values()):
        values = {ours: rope[theirs] for ours, theirs in _SLOWED_KEYS.items()}
        return Rotary(theta=theta, slowed=SlowedRotation(**values))
    raise CheckpointError(
        f"config.json has {key}={config[key]!r}; the zoo's rotary positions have a base "
        "(rope_theta), and the only scaling that they have is llama3's"
    )


def _rope_parameters(model: ModelConfig) -> Config:
    rotary = model.position if isinstance(model.position, Rotary) else Rotary()
    if rotary.slowed is None:
        return {"rope_type": "default", "rope_theta": rotary.theta}
    slowed = {theirs: getattr(rotary.slowed, ours) for ours, theirs in _SLOWED_KEYS.items()}
    return {"rope_type": "llama3", "rope_theta": rotary.theta} | slowed


def _llama_to_theirs(model: ModelConfig) -> Config:
    rope = _rope_parameters(model)
    return {
        "vocab_size": model.vocab_size,
        "max_position_embeddings": model.context_length,
        "num_hidden_layers": model.num_layers,
        "hidden_size": model.d_model,
        "num_attention_heads": model.attention.num_heads,
        "num_key_value_heads": model.attention.num_kv_heads,
        "head_dim": model.attention.head_dim,
        "intermediate_size": model.feed_forward.d_ff,
        "hidden_act": "silu",
        "rms_norm_eps": model.norm.eps,
        # transformers 5 reads rope_parameters; older versions read the other two.
        "rope_parameters": rope,
        "rope_theta": rope["rope_theta"],
        "rope_scaling": None if rope["rope_type"] == "default" else rope,
        "attention_bias": {"qkv", "attention_output"} <= set(model.biases),
        "mlp_bias": "feed_forward" in model.biases,
        "tie_word_embeddings": model.tie_embeddings,
        "initializer_range": std(model),
        "attention_dropout": model.dropout_rate,
    }


ARCHITECTURES = {
    "bert": BERT,
    "openai-gpt": Architecture(
        class_name="OpenAIGPTLMHeadModel",
        divided=("n_embd", "n_head"),
        aliases=_GPT_ALIASES,
        defaults=_GPT_DEFAULTS | {"vocab_size": 40_478, "n_positions": 512},
        # In transformers, GPT-1's "gelu" is the tanh form, unlike GPT-2's.
        fixed=FIXED | {"afn": ("gelu",)},
        to_ours=_gpt1_to_ours,
        to_theirs=_gpt_to_theirs,
    ),
    "gpt2": Architecture(
        class_name="GPT2LMHeadModel",
        divided=("n_embd", "n_head"),
        aliases=_GPT_ALIASES,
        defaults=_GPT_DEFAULTS
        | {
            "vocab_size": 50_257,
            "n_positions": 1024,
            "n_inner": None,
            "activation_function": "gelu_new",
        },
        fixed=FIXED
        | {
            "scale_attn_weights": (True,),
            "scale_attn_by_inverse_layer_idx": (False,),
            "add_cross_attention": (False,),
        },
        to_ours=_gpt2_to_ours,
        to_theirs=_gpt2_to_theirs,
    ),
    "llama": Architecture(
        class_name="LlamaForCausalLM",
        divided=("hidden_size", "num_attention_heads"),
        aliases={},
        defaults={
            "vocab_size": 32_000,
            "max_position_embeddings": 2048,
            "num_hidden_layers": 32,
            "hidden_size": 4096,
            "num_attention_heads": 32,
            "num_key_value_heads": None,
            "head_dim": None,
            "intermediate_size": 11_008,
            "rms_norm_eps": 1e-6,
            "rope_parameters": None,
            "rope_theta": 10_000.0,
            "rope_scaling": None,
            "attention_bias": False,
            "mlp_bias": False,
            "tie_word_embeddings": False,
            "initializer_range": 0.02,
            "attention_dropout": 0.0,
        },
        fixed=FIXED | {"hidden_act": ("silu",), "partial_rotary_factor": (1.0, None)},
        to_ours=_llama_to_ours,
        to_theirs=_llama_to_theirs,
    ),
}
