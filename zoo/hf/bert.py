"""BERT in Hugging Face's terms, as `BertForMaskedLM` and `BertForPreTraining` have it.

The class of a folder tells which heads its model has; the first ignores the second head of a file.
"""

from configs.parts.objectives import MaskedTokens
from models.config import (
    Attention,
    Encoder,
    FeedForward,
    FeedForwardKind,
    LayerNorm,
    Learned,
    ModelConfig,
    TruncatedNormal,
)
from zoo.common.errors import CheckpointError
from zoo.hf.architecture import FIXED, Architecture, Config, dropout_rate, std

_BOTH_HEADS = "BertForPreTraining"
_ACTIVATIONS: dict[str, FeedForwardKind] = {
    "gelu": "gelu_erf",
    "gelu_new": "gelu",
    "gelu_pytorch_tanh": "gelu",
}
_MARKS = {"cls_token_id": 101, "sep_token_id": 102, "mask_token_id": 103}
"""Keys of the ids of the marks, with their values in the released vocabularies."""


def _to_ours(config: Config) -> ModelConfig:
    d_model, num_heads = config["hidden_size"], config["num_attention_heads"]
    if config["hidden_act"] not in _ACTIVATIONS:
        raise CheckpointError(
            f"config.json has hidden_act={config['hidden_act']!r}; the zoo's encoders have "
            f"{', '.join(_ACTIVATIONS)}"
        )
    classes = config.get("architectures") or ()
    return ModelConfig(
        vocab_size=config["vocab_size"],
        context_length=config["max_position_embeddings"],
        num_layers=config["num_hidden_layers"],
        d_model=d_model,
        attention=Attention(
            num_heads=num_heads, num_kv_heads=num_heads, head_dim=max(1, d_model // num_heads)
        ),
        feed_forward=FeedForward(
            d_ff=config["intermediate_size"], kind=_ACTIVATIONS[config["hidden_act"]]
        ),
        norm=LayerNorm(eps=config["layer_norm_eps"]),
        position=Learned(),
        layout="post_norm",
        biases=("qkv", "attention_output", "feed_forward", "norm", "logits"),
        tie_embeddings=True,
        init=TruncatedNormal(std=config["initializer_range"]),
        dropout_rate=dropout_rate(config, "hidden_dropout_prob", "attention_probs_dropout_prob"),
        stack=Encoder(
            num_segments=config["type_vocab_size"],
            heads=("masked_tokens", "next_sentence")
            if _BOTH_HEADS in classes
            else ("masked_tokens",),
        ),
    )


def _to_theirs(model: ModelConfig) -> Config:
    config = {
        "vocab_size": model.vocab_size,
        "max_position_embeddings": model.context_length,
        "num_hidden_layers": model.num_layers,
        "hidden_size": model.d_model,
        "num_attention_heads": model.attention.num_heads,
        "intermediate_size": model.feed_forward.d_ff,
        "hidden_act": "gelu" if model.feed_forward.kind == "gelu_erf" else "gelu_new",
        "layer_norm_eps": model.norm.eps,
        "initializer_range": std(model),
        "hidden_dropout_prob": model.dropout_rate,
        "attention_probs_dropout_prob": model.dropout_rate,
    }
    if isinstance(model.stack, Encoder):
        config["type_vocab_size"] = model.stack.num_segments
        if "next_sentence" in model.stack.heads:
            config["architectures"] = [_BOTH_HEADS]
    return config


BERT = Architecture(
    class_name="BertForMaskedLM",
    divided=("hidden_size", "num_attention_heads"),
    aliases={},
    defaults={
        "vocab_size": 30_522,
        "max_position_embeddings": 512,
        "num_hidden_layers": 12,
        "hidden_size": 768,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
        "initializer_range": 0.02,
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "type_vocab_size": 2,
    },
    fixed=FIXED
    | {
        "is_causal": (False, None),
        "embedding_size": (None,),
        "position_embedding_type": ("absolute",),
        "is_decoder": (False,),
        "add_cross_attention": (False,),
        "tie_word_embeddings": (True,),
    },
    to_ours=_to_ours,
    to_theirs=_to_theirs,
)


def objective(config: Config) -> MaskedTokens:
    """Return the objective with the marks that a config.json names, or the released ones."""
    cls_id, sep_id, mask_id = (config.get(key) or usual for key, usual in _MARKS.items())
    return MaskedTokens(cls_id=cls_id, sep_id=sep_id, mask_id=mask_id)


def marks(objective: MaskedTokens) -> Config:
    """Return the ids of the marks as config.json names them."""
    ids = (objective.cls_id, objective.sep_id, objective.mask_id)
    return dict(zip(_MARKS, ids, strict=True))
