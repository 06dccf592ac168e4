"""Sort the keys of a Hugging Face config.json: read, refused, without effect, and unknown."""

from typing import Any

from zoo.common.errors import CheckpointError
from zoo.hf.architecture import Architecture, Config

# fmt: off
WITHOUT_EFFECT = frozenset((
    # the program that wrote the file
    "architectures", "model_type", "torch_dtype", "dtype", "transformers_version",
    "_name_or_path", "id2label", "label2id", "problem_type", "finetuning_task", "_commit_hash",
    # other ways to compute the same function
    "use_cache", "pretraining_tp", "reorder_and_upcast_attn", "gradient_checkpointing",
    "return_dict", "chunk_size_feed_forward", "_attn_implementation",
    "_attn_implementation_autoset", "output_past", "output_hidden_states", "output_attentions",
    # token ids, which the tokenizer names as well
    "bos_token_id", "eos_token_id", "pad_token_id", "unk_token_id", "sep_token_id",
    "cls_token_id", "mask_token_id",
    # heads other than the language model's, and older names of the context length
    "summary_type", "summary_use_proj", "summary_activation", "summary_proj_to_labels",
    "summary_first_dropout", "classifier_dropout", "n_ctx", "n_special", "predict_special_tokens",
    # the generation of text
    "task_specific_params", "max_length", "min_length", "do_sample", "temperature", "top_k",
    "top_p", "num_beams", "num_return_sequences", "repetition_penalty", "length_penalty",
    "diversity_penalty", "num_beam_groups", "encoder_no_repeat_ngram_size",
    "no_repeat_ngram_size", "typical_p",
))
# fmt: on
"""Keys that do not change the language model's function, and of which nothing is said."""


def unknown_keys(architecture: Architecture, config: Config) -> list[str]:
    """Return the keys that neither the zoo nor `transformers` knows for the architecture.

    They cannot change what `transformers` computes: an import ignores them and says so.
    """
    known = {*architecture.defaults, *architecture.aliases, *architecture.fixed, *WITHOUT_EFFECT}
    return [key for key in config if key not in known]


def with_defaults(architecture: Architecture, config: Config) -> Config:
    """Return the value of every key that the architecture's `to_ours` reads.

    Raises CheckpointError, which names the key, for an unsupported or mistyped value.
    """
    for key, supported in architecture.fixed.items():
        if key in config and config[key] not in supported:
            raise CheckpointError(
                f"config.json has {key}={config[key]!r}, which the zoo's model does not support; "
                f"it has {key}={supported[0]!r} only"
            )
    named = {key: config[alias] for alias, key in architecture.aliases.items() if alias in config}
    values = {key: (config | named).get(key, value) for key, value in architecture.defaults.items()}
    mistyped = [
        f"{key}={value!r} is not {kind}"
        for key, value in values.items()
        if (kind := _missed_type(value, architecture.defaults[key])) is not None
    ]
    if mistyped:
        raise CheckpointError(f"config.json does not describe a model: {'; '.join(mistyped)}")
    return values


def _missed_type(value: Any, default: Any) -> str | None:
    """Return the name of the type that `default` has and `value` lacks; None if it fits."""
    match default:
        case bool():
            return None if isinstance(value, bool) else "true or false"
        case int():
            return None if type(value) is int else "a whole number"
        case float():
            return None if type(value) in (int, float) else "a number"
        case _:
            return None
