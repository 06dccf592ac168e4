"""Tiny Hugging Face folders with random weights, made by `transformers`, and their tokenizers."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from zoo.hf.config import Config

transformers.utils.logging.disable_progress_bar()

VOCAB_SIZE = 307
TEXT = (
    "a model reads tokens and learns which of them comes next ; def loss ( x ) : return x é\n" * 20
)

_GPT: Config = {
    "vocab_size": VOCAB_SIZE,
    "n_positions": 31,
    "n_embd": 21,
    "n_layer": 3,
    "n_head": 3,
}
_LLAMA: Config = {
    "vocab_size": VOCAB_SIZE,
    "max_position_embeddings": 31,
    "hidden_size": 18,
    "intermediate_size": 29,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "head_dim": 14,
    "rope_theta": 500.0,
}
# fmt: off
CONFIGS: dict[str, Config] = {
    "gpt1":             {"model_type": "openai-gpt"} | _GPT,
    "gpt2":             {"model_type": "gpt2", "n_inner": 29} | _GPT,
    "gpt2 exact gelu":  {"model_type": "gpt2", "activation_function": "gelu"} | _GPT,
    "gpt2 untied":      {"model_type": "gpt2", "tie_word_embeddings": False} | _GPT,
    "llama":            {"model_type": "llama"} | _LLAMA,
    "llama grouped":    {"model_type": "llama", "num_key_value_heads": 3,
                         "rms_norm_eps": 1e-3} | _LLAMA,
    "llama slowed":     {"model_type": "llama", "rope_parameters": {
                         "rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0,
                         "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                         "original_max_position_embeddings": 16}} | _LLAMA,
    "llama tied":       {"model_type": "llama", "tie_word_embeddings": True} | _LLAMA,
    "llama biased":     {"model_type": "llama", "attention_bias": True, "mlp_bias": True,
                         "num_key_value_heads": 2} | _LLAMA,
}
# fmt: on
"""Configs of every architecture, with the choices that change its tensors or its function.

Sizes are prime where they can be.
"""


def write_bpe(folder: Path) -> None:
    """A byte-level tokenizer.json of fewer than VOCAB_SIZE tokens with one mark, as GPT-2's."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE - 7,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([TEXT], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|endoftext|>",
        "eos_token": "<|endoftext|>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def write_bpe_files(folder: Path) -> None:
    """Replace the tokenizer.json of `write_bpe` by the same vocab.json and merges.txt."""
    path = folder / "tokenizer.json"
    model = json.loads(path.read_text())["model"]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]), encoding="utf-8")
    merges = "".join(f"{left} {right}\n" for left, right in model["merges"])
    (folder / "merges.txt").write_text("#version: 0.2\n" + merges, encoding="utf-8")
    path.unlink()


def write_gpt1_files(folder: Path) -> None:
    """A vocab.json and a merges.txt in which </w> ends words, as GPT-1's, without settings."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE - 7,
        special_tokens=["<unk>"],
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    tokenizer.train_from_iterator([TEXT], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    write_bpe_files(folder)
    (folder / "tokenizer_config.json").unlink(missing_ok=True)


def write_sentencepiece(folder: Path) -> None:
    """A tokenizer.model with a space before every text, bytes and digits apart, as LLaMA's."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([TEXT]),
        model_writer=model,
        vocab_size=VOCAB_SIZE - 2,
        model_type="bpe",
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        split_digits=True,
        minloglevel=2,
    )
    (folder / "tokenizer.model").write_bytes(model.getvalue())
    settings = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def make(folder: Path, config: Config, *, dtype: torch.dtype = torch.float32, **save: Any) -> Path:
    """A folder with a model of `config`, every parameter random, and a byte-level tokenizer.

    Args:
      save: for `save_pretrained`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(
        transformers.AutoConfig.for_model(**config)
    )
    with torch.no_grad():
        for parameter in model.parameters():
            middle = 1.0 if parameter.ndim == 1 else 0.0
            parameter.copy_(middle + 0.3 * torch.randn(parameter.shape))
    model.to(dtype).save_pretrained(folder, **save)
    write_bpe(folder)
    return folder


def logits(folder: Path, tokens: np.ndarray) -> np.ndarray:
    """The logits that transformers computes with the folder, in float32."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        return model(torch.from_numpy(tokens)).logits.numpy()


def tokens(num_tokens: int = 29) -> np.ndarray:
    """[2, num_tokens] random ids."""
    return np.random.default_rng(0).integers(VOCAB_SIZE, size=(2, num_tokens))
