"""Tables of Hugging Face's tensors and the parameters that they hold, read in both directions.

A table has one row per tensor. Axes are written with the letters of models/axes.py. Parentheses
join axes into one, the slowest first: `(N H) D` is a matrix [out, in], as torch's Linear stores it,
and `D (N H)` a matrix [in, out], as GPT-2's Conv1D does. Z counts the parameters of the zoo that
one tensor fuses. P is context_length, S the number of segments, A the two answers of a head, and O
is d_model again, as an output.
"""

import re
from dataclasses import dataclass

import numpy as np

from models.config import Encoder, ModelConfig


@dataclass(frozen=True)
class Row:
    """A Hugging Face tensor, and the parameters of the zoo that it holds."""

    theirs: str
    """The tensor's name, with {layer} if every layer has such a tensor."""
    their_axes: str
    ours: tuple[str, ...]
    """Dotted paths of the parameters; more than one if the tensor fuses them along Z."""
    our_axes: str
    """The axes of each of `ours`, without the stacked axis of the layers."""

    @property
    def is_stacked(self) -> bool:
        """True if every layer has such a tensor."""
        return "{layer}" in self.theirs

    def their_name(self, layer: int) -> str:
        """Return the tensor's name in one layer."""
        return self.theirs.format(layer=layer)

    def their_shape(self, model: ModelConfig) -> tuple[int, ...]:
        """Return the shape that the tensor must have."""
        size = _sizes(model, len(self.ours))
        groups = _groups(self.their_axes)
        return tuple(int(np.prod([size[axis] for axis in group])) for group in groups)

    def to_ours(self, tensor: np.ndarray, model: ModelConfig) -> list[np.ndarray]:
        """Return views of the tensor, one for each of `ours`, in the zoo's order of axes."""
        size = _sizes(model, len(self.ours))
        theirs, ours = self._axes()
        split = tensor.reshape([size[axis] for axis in theirs])
        return list(split.transpose([theirs.index(axis) for axis in ours]))

    def to_theirs(self, parameters: list[np.ndarray], model: ModelConfig) -> np.ndarray:
        """Return the tensor as one contiguous array, the inverse of `to_ours`."""
        theirs, ours = self._axes()
        fused = np.stack(parameters).transpose([ours.index(axis) for axis in theirs])
        return np.ascontiguousarray(fused).reshape(self.their_shape(model))

    def _axes(self) -> tuple[list[str], list[str]]:
        """Return their axes and ours, none joined; a tensor that fuses nothing gets a Z of 1."""
        theirs = [axis for group in _groups(self.their_axes) for axis in group]
        return (theirs if "Z" in theirs else ["Z", *theirs]), ["Z", *self.our_axes.split()]


@dataclass(frozen=True)
class Layout:
    """All tensors of one Hugging Face architecture."""

    prefix: str
    """The prefix of every name but the heads', in files of a whole language model."""
    rows: tuple[Row, ...]
    buffers: re.Pattern[str]
    """Names, without the prefix, of tensors that hold no parameters: they follow from the config,
    are copies, or belong to heads that the model does not have."""

    def full_name(self, name: str) -> str:
        """Return the name of a tensor in files of a whole language model."""
        return name if name.startswith(_HEADS) else self.prefix + name


_HEADS = ("lm_head.", "cls.")
"""The beginnings of the names of heads."""
OUTPUT = "lm_head.weight"
"""The output matrix; with tied embeddings, some files hold a copy of the embedding here."""


def rows_of(layout: Layout, parameters: set[str]) -> list[Row]:
    """Return the rows of a model with these parameters; it may lack biases or the output matrix."""
    rows = [row for row in layout.rows if parameters.issuperset(row.ours)]
    assert parameters == {path for row in rows for path in row.ours}, "the table has holes"
    return rows


def _norm(theirs: str, ours: str) -> tuple[Row, ...]:
    return (
        Row(f"{theirs}.weight", "D", (f"{ours}.scale",), "D"),
        Row(f"{theirs}.bias", "D", (f"{ours}.bias",), "D"),
    )


def _dense(theirs: str, ours: str, their_axes: str, our_axes: str, out: str) -> tuple[Row, ...]:
    """Return the rows of a matrix of every layer and of its bias, which has the axes `out`."""
    return (
        Row(f"{theirs}.weight", their_axes, (f"layers.{ours}.kernel",), our_axes),
        Row(f"{theirs}.bias", f"({out})", (f"layers.{ours}.bias",), out),
    )


_QKV_KERNELS = tuple(f"layers.attention.{role}.kernel" for role in ("query", "key", "value"))
_QKV_BIASES = tuple(f"layers.attention.{role}.bias" for role in ("query", "key", "value"))

# fmt: off
_GPT_BLOCK = (
    *_norm("h.{layer}.ln_1", "layers.attention_norm"),
    Row("h.{layer}.attn.c_attn.weight", "D (Z N H)", _QKV_KERNELS, "D N H"),
    Row("h.{layer}.attn.c_attn.bias",   "(Z N H)",   _QKV_BIASES,  "N H"),
    *_dense("h.{layer}.attn.c_proj", "attention.output",  "(N H) D", "N H D", out="D"),
    *_norm("h.{layer}.ln_2", "layers.feed_forward_norm"),
    *_dense("h.{layer}.mlp.c_fc",    "feed_forward.up",   "D F", "D F", out="F"),
    *_dense("h.{layer}.mlp.c_proj",  "feed_forward.down", "F D", "F D", out="D"),
)
_LLAMA_BLOCK = (
    *_norm("layers.{layer}.input_layernorm", "layers.attention_norm"),
    *_dense("layers.{layer}.self_attn.q_proj", "attention.query",   "(N H) D", "D N H", out="N H"),
    *_dense("layers.{layer}.self_attn.k_proj", "attention.key",     "(K H) D", "D K H", out="K H"),
    *_dense("layers.{layer}.self_attn.v_proj", "attention.value",   "(K H) D", "D K H", out="K H"),
    *_dense("layers.{layer}.self_attn.o_proj", "attention.output",  "D (N H)", "N H D", out="D"),
    *_norm("layers.{layer}.post_attention_layernorm", "layers.feed_forward_norm"),
    *_dense("layers.{layer}.mlp.gate_proj",    "feed_forward.gate", "F D", "D F", out="F"),
    *_dense("layers.{layer}.mlp.up_proj",      "feed_forward.up",   "F D", "D F", out="F"),
    *_dense("layers.{layer}.mlp.down_proj",    "feed_forward.down", "D F", "F D", out="D"),
)
_BERT_LAYER = "encoder.layer.{layer}"
_BERT_SELF = f"{_BERT_LAYER}.attention.self"
_BERT_BLOCK = (
    *_dense(f"{_BERT_SELF}.query", "attention.query", "(N H) D", "D N H", out="N H"),
    *_dense(f"{_BERT_SELF}.key",   "attention.key",   "(N H) D", "D N H", out="N H"),
    *_dense(f"{_BERT_SELF}.value", "attention.value", "(N H) D", "D N H", out="N H"),
    *_dense(f"{_BERT_LAYER}.attention.output.dense", "attention.output",
            "D (N H)", "N H D", out="D"),
    *_norm(f"{_BERT_LAYER}.attention.output.LayerNorm", "layers.attention_norm"),
    *_dense(f"{_BERT_LAYER}.intermediate.dense", "feed_forward.up",   "F D", "D F", out="F"),
    *_dense(f"{_BERT_LAYER}.output.dense",       "feed_forward.down", "D F", "F D", out="D"),
    *_norm(f"{_BERT_LAYER}.output.LayerNorm", "layers.feed_forward_norm"),
)
_OUTPUT = Row(OUTPUT, "V D", ("unembedding",), "V D")

LAYOUTS = {
    "bert": Layout(
        prefix="bert.",
        rows=(
            Row("embeddings.word_embeddings.weight",       "V D", ("embedding",), "V D"),
            Row("embeddings.position_embeddings.weight",   "P D", ("position_embedding",), "P D"),
            Row("embeddings.token_type_embeddings.weight", "S D", ("segment_embedding",), "S D"),
            *_norm("embeddings.LayerNorm", "embedding_norm"),
            *_BERT_BLOCK,
            Row("pooler.dense.weight", "O D", ("pooler.kernel",), "D O"),
            Row("pooler.dense.bias",   "O",   ("pooler.bias",),   "O"),
            Row("cls.predictions.transform.dense.weight", "O D", ("masked_token.kernel",), "D O"),
            Row("cls.predictions.transform.dense.bias",   "O",   ("masked_token.bias",),   "O"),
            *_norm("cls.predictions.transform.LayerNorm", "masked_token_norm"),
            Row("cls.predictions.bias", "V", ("logit_bias",), "V"),
            Row("cls.seq_relationship.weight", "A D", ("next_sentence.kernel",), "D A"),
            Row("cls.seq_relationship.bias",   "A",   ("next_sentence.bias",),   "A"),
        ),
        buffers=re.compile(
            r"embeddings\.position_ids|cls\.predictions\.decoder\.(weight|bias)|"
            r"(pooler\.dense|cls\.seq_relationship)\.(weight|bias)"
        ),
    ),
    "openai-gpt": Layout(
        prefix="transformer.",
        rows=(
            Row("tokens_embed.weight",    "V D", ("embedding",), "V D"),
            Row("positions_embed.weight", "P D", ("position_embedding",), "P D"),
            *_GPT_BLOCK,
            _OUTPUT,
        ),
        buffers=re.compile(r"position_ids|h\.\d+\.attn\.bias"),
    ),
    "gpt2": Layout(
        prefix="transformer.",
        rows=(
            Row("wte.weight", "V D", ("embedding",), "V D"),
            Row("wpe.weight", "P D", ("position_embedding",), "P D"),
            *_GPT_BLOCK,
            *_norm("ln_f", "final_norm"),
            _OUTPUT,
        ),
        buffers=re.compile(r"h\.\d+\.attn\.(masked_)?bias"),
    ),
    "llama": Layout(
        prefix="model.",
        rows=(
            Row("embed_tokens.weight", "V D", ("embedding",), "V D"),
            *_LLAMA_BLOCK,
            *_norm("norm", "final_norm"),
            _OUTPUT,
        ),
        buffers=re.compile(r"(layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq"),
    ),
}
# fmt: on


def _groups(axes: str) -> list[list[str]]:
    """Split axes into groups: `(N H) D` is [[N, H], [D]]."""
    return [(joined or alone).split() for joined, alone in re.findall(r"\(([^)]*)\)|(\S+)", axes)]


def _sizes(model: ModelConfig, num_fused: int) -> dict[str, int]:
    return {
        "V": model.vocab_size,
        "P": model.context_length,
        "D": model.d_model,
        "N": model.attention.num_heads,
        "K": model.attention.num_kv_heads,
        "H": model.attention.head_dim,
        "F": model.feed_forward.d_ff,
        "O": model.d_model,
        "S": model.stack.num_segments if isinstance(model.stack, Encoder) else 0,
        "A": 2,
        "Z": num_fused,
    }
