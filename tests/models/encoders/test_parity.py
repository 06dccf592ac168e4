"""Encoders, and encoders with decoders, against independent implementations of the same papers."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers

from models.encoders.encoder import EncoderModel
from models.encoders.encoder_decoder import EncoderDecoderModel
from models.model import abstract_model
from models.positions import Positions
from tests.models.encoders import samples
from tests.models.samples import random_parameters

TOLERANCE = 2e-5
B, S, T = 3, 19, 23
RNG = np.random.default_rng(0)
TOKENS = RNG.integers(53, size=(B, T))
SOURCE = RNG.integers(53, size=(B, S))
LENGTHS = np.array([S, 7, 12])
IS_TEXT = np.arange(S) < LENGTHS[:, None]


@pytest.fixture(autouse=True)
def _precise():
    with jax.default_matmul_precision("highest"), torch.no_grad():
        yield


def close(ours: jax.Array, theirs: torch.Tensor) -> bool:
    theirs_np = theirs.numpy()
    return float(np.abs(np.asarray(ours) - theirs_np).max()) <= TOLERANCE * np.abs(theirs_np).max()


def source_positions() -> Positions:
    index = jnp.broadcast_to(jnp.arange(S), (B, S))
    return Positions(index, jnp.asarray(IS_TEXT, jnp.int32))


def load(model: torch.nn.Module, tensors: dict[str, np.ndarray]) -> None:
    state = {name: torch.from_numpy(np.array(value)) for name, value in tensors.items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected
    assert all("position_ids" in name for name in missing), missing


def matrix(kernel: np.ndarray, num_in: int = 1) -> np.ndarray:
    """A kernel whose first `num_in` axes are inputs, as torch's [out, in]."""
    return kernel.reshape(math.prod(kernel.shape[:num_in]), -1).T


# --- BERT ----------------------------------------------------------------------------------------


def to_bert(p: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The parameters under the names of `transformers`."""
    t = {
        "bert.embeddings.word_embeddings.weight": p["embedding"],
        "bert.embeddings.position_embeddings.weight": p["position_embedding"],
        "bert.embeddings.token_type_embeddings.weight": p["segment_embedding"],
        "bert.embeddings.LayerNorm.weight": p["embedding_norm.scale"],
        "bert.embeddings.LayerNorm.bias": p["embedding_norm.bias"],
        "bert.pooler.dense.weight": p["pooler.kernel"].T,
        "bert.pooler.dense.bias": p["pooler.bias"],
        "cls.predictions.transform.dense.weight": p["masked_token.kernel"].T,
        "cls.predictions.transform.dense.bias": p["masked_token.bias"],
        "cls.predictions.transform.LayerNorm.weight": p["masked_token_norm.scale"],
        "cls.predictions.transform.LayerNorm.bias": p["masked_token_norm.bias"],
        "cls.predictions.decoder.weight": p["embedding"],
        "cls.predictions.decoder.bias": p["logit_bias"],
        "cls.predictions.bias": p["logit_bias"],
        "cls.seq_relationship.weight": p["next_sentence.kernel"].T,
        "cls.seq_relationship.bias": p["next_sentence.bias"],
    }
    for i in range(samples.BERT.num_layers):
        layer = f"bert.encoder.layer.{i}"
        for role in ("query", "key", "value"):
            name = f"{layer}.attention.self.{role}"
            t[f"{name}.weight"] = matrix(p[f"layers.attention.{role}.kernel"][i])
            t[f"{name}.bias"] = p[f"layers.attention.{role}.bias"][i].reshape(-1)
        for theirs, ours, num_in in (
            ("attention.output.dense", "attention.output", 2),
            ("intermediate.dense", "feed_forward.up", 1),
            ("output.dense", "feed_forward.down", 1),
        ):
            t[f"{layer}.{theirs}.weight"] = matrix(p[f"layers.{ours}.kernel"][i], num_in)
            t[f"{layer}.{theirs}.bias"] = p[f"layers.{ours}.bias"][i]
        for theirs, ours in (
            ("attention.output.LayerNorm", "attention_norm"),
            ("output.LayerNorm", "feed_forward_norm"),
        ):
            t[f"{layer}.{theirs}.weight"] = p[f"layers.{ours}.scale"][i]
            t[f"{layer}.{theirs}.bias"] = p[f"layers.{ours}.bias"][i]
    return t


def test_an_encoder_is_transformers_bert():
    ours = random_parameters(abstract_model(samples.BERT))
    assert isinstance(ours, EncoderModel)
    config = transformers.BertConfig(
        vocab_size=53,
        hidden_size=20,
        num_hidden_layers=3,
        num_attention_heads=5,
        intermediate_size=29,
        max_position_embeddings=23,
        layer_norm_eps=1e-12,
    )
    theirs = transformers.BertForPreTraining(config).eval()
    load(theirs, to_bert(samples.numbers(ours)))
    segments = (np.arange(S) >= 4).astype(int) * np.ones((B, 1), int)
    expected = theirs(
        torch.from_numpy(SOURCE),
        attention_mask=torch.from_numpy(IS_TEXT.astype(int)),
        token_type_ids=torch.from_numpy(segments),
    )
    hidden = ours(jnp.asarray(SOURCE), source_positions(), jnp.asarray(segments))
    assert close(ours.logits(hidden)[IS_TEXT], expected.prediction_logits[IS_TEXT])
    assert close(ours.follows(hidden), expected.seq_relationship_logits)


# --- encoder and decoder -------------------------------------------------------------------------


def logits(model: EncoderDecoderModel) -> jax.Array:
    """The logits of TOKENS, given SOURCE."""
    encoded = model.encode(jnp.asarray(SOURCE), source_positions())
    positions = Positions.whole_rows(B, T)
    hidden = model.decode(jnp.asarray(TOKENS), positions, encoded, source_positions())
    return model.head()(hidden)


def to_t5(p: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The parameters under the names of `transformers`, whose scores are not divided."""
    t = {
        "shared.weight": p["embedding"],
        "encoder.embed_tokens.weight": p["embedding"],
        "decoder.embed_tokens.weight": p["embedding"],
    }
    for stack, num_layers in (("encoder", 2), ("decoder", 3)):
        t[f"{stack}.final_layer_norm.weight"] = p[f"{stack}_norm.scale"]
        first = f"{stack}.block.0.layer.0.SelfAttention"
        t[f"{first}.relative_attention_bias.weight"] = p[f"{stack}_buckets"]
        parts = [("SelfAttention", "attention", "attention_norm")]
        if stack == "decoder":
            parts.append(("EncDecAttention", "cross_attention", "cross_norm"))
        for i in range(num_layers):
            for number, (theirs, ours, norm) in enumerate(parts):
                layer = f"{stack}.block.{i}.layer.{number}"
                names = {"q": "query", "k": "key", "v": "value", "o": "output"}
                for short, name in names.items():
                    kernel = p[f"{stack}_layers.{ours}.{name}.kernel"][i]
                    scale = math.sqrt(kernel.shape[-1]) if short == "q" else 1
                    weight = matrix(kernel, 2 if short == "o" else 1) / scale
                    t[f"{layer}.{theirs}.{short}.weight"] = weight.astype(np.float32)
                t[f"{layer}.layer_norm.weight"] = p[f"{stack}_layers.{norm}.scale"][i]
            layer = f"{stack}.block.{i}.layer.{len(parts)}"
            for theirs, ours in (("wi_0", "gate"), ("wi_1", "up"), ("wo", "down")):
                weight = matrix(p[f"{stack}_layers.feed_forward.{ours}.kernel"][i])
                t[f"{layer}.DenseReluDense.{theirs}.weight"] = weight
            norm = p[f"{stack}_layers.feed_forward_norm.scale"][i]
            t[f"{layer}.layer_norm.weight"] = norm
    return t


def test_buckets_and_pre_norm_are_transformers_t5():
    ours = random_parameters(abstract_model(samples.T5))
    assert isinstance(ours, EncoderDecoderModel)
    config = transformers.T5Config(
        vocab_size=53,
        d_model=20,
        d_kv=7,
        d_ff=29,
        num_layers=2,
        num_decoder_layers=3,
        num_heads=5,
        relative_attention_num_buckets=8,
        relative_attention_max_distance=12,
        feed_forward_proj="gated-gelu",
    )
    theirs = transformers.T5ForConditionalGeneration(config).eval()
    theirs.config.scale_decoder_outputs = False
    # This class always ties the output matrix to the embedding, as version 1.1 of T5 does not.
    theirs.lm_head = torch.nn.Linear(20, 53, bias=False)
    p = samples.numbers(ours)
    load(theirs, to_t5(p) | {"lm_head.weight": p["unembedding"]})
    expected = theirs(
        input_ids=torch.from_numpy(SOURCE),
        attention_mask=torch.from_numpy(IS_TEXT.astype(int)),
        decoder_input_ids=torch.from_numpy(TOKENS),
    ).logits
    assert close(logits(ours), expected)


def to_torch(p: dict[str, np.ndarray], stack: str, i: int) -> dict[str, np.ndarray]:
    """The parameters of one layer under the names of torch.nn's."""
    attentions = [("self_attn", "attention", "norm1", "attention_norm")]
    if stack == "decoder":
        attentions.append(("multihead_attn", "cross_attention", "norm2", "cross_norm"))
    last = f"norm{len(attentions) + 1}"
    norms = [(theirs, ours) for _, _, theirs, ours in attentions]
    t = {}
    for theirs, ours, _, _ in attentions:
        roles = ("query", "key", "value")
        qkv = [matrix(p[f"{stack}_layers.{ours}.{role}.kernel"][i]) for role in roles]
        t[f"{theirs}.in_proj_weight"] = np.concatenate(qkv)
        t[f"{theirs}.in_proj_bias"] = np.zeros(3 * 20, np.float32)
        t[f"{theirs}.out_proj.weight"] = matrix(p[f"{stack}_layers.{ours}.output.kernel"][i], 2)
        t[f"{theirs}.out_proj.bias"] = np.zeros(20, np.float32)
    for theirs, ours in (("linear1", "up"), ("linear2", "down")):
        t[f"{theirs}.weight"] = matrix(p[f"{stack}_layers.feed_forward.{ours}.kernel"][i])
        t[f"{theirs}.bias"] = p[f"{stack}_layers.feed_forward.{ours}.bias"][i]
    for theirs, ours in (*norms, (last, "feed_forward_norm")):
        t[f"{theirs}.weight"] = p[f"{stack}_layers.{ours}.scale"][i]
        t[f"{theirs}.bias"] = p[f"{stack}_layers.{ours}.bias"][i]
    return t


def sinusoids(length: int, d_model: int) -> np.ndarray:
    """Section 3.5, with all sines before all cosines."""
    angles = [[m / 10_000 ** (2 * i / d_model) for i in range(d_model // 2)] for m in range(length)]
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


def test_sinusoids_and_post_norm_are_torchs_transformer():
    ours = random_parameters(abstract_model(samples.TRANSFORMER))
    assert isinstance(ours, EncoderDecoderModel)
    p = samples.numbers(ours)
    settings = {"layer_norm_eps": 1e-6, "batch_first": True, "dropout": 0.0}

    def embed(tokens: np.ndarray) -> torch.Tensor:
        x = p["embedding"][tokens] * math.sqrt(20) + sinusoids(tokens.shape[1], 20)
        return torch.from_numpy(x.astype(np.float32))

    x, is_padding = embed(SOURCE), torch.from_numpy(~IS_TEXT)
    for i in range(2):
        layer = torch.nn.TransformerEncoderLayer(20, 5, 29, **settings).eval()
        load(layer, to_torch(p, "encoder", i))
        # Attached as a parameter, the mask takes torch's slow path, which is the plain one.
        x = layer(x, src_key_padding_mask=is_padding)
    y = embed(TOKENS)
    causal = torch.nn.Transformer.generate_square_subsequent_mask(T)
    for i in range(3):
        layer = torch.nn.TransformerDecoderLayer(20, 5, 29, **settings).eval()
        load(layer, to_torch(p, "decoder", i))
        y = layer(y, x, tgt_mask=causal, memory_key_padding_mask=is_padding)
    assert close(logits(ours), y @ torch.from_numpy(p["embedding"].T.copy()))
