"""Tiny models of prime sizes for the tests of `models` and `zoo`, with every parameter random."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import configs
from models import config as c
from models.execution import Execution
from models.model import Model, abstract_model
from models.positions import Positions
from models.transformer import FLOAT32, Transformer
from tests.reference import gopher, gpt1, gpt2, gpt3, llama, palm

WINDOW = 5
"""Number of tokens that a banded layer of a sample sees."""


def shrunk(model: c.ModelConfig) -> c.ModelConfig:
    """Return the same choices in prime sizes; twice a prime where a choice needs an even size."""
    heads, windows = model.attention, model.attention.windows
    assert heads.num_kv_heads in (1, heads.num_heads), "no published size groups its queries"
    return dataclasses.replace(
        model,
        vocab_size=53,
        context_length=31,
        num_layers=3 * len(windows),
        d_model=22 if isinstance(model.position, c.Relative) else 17,
        attention=dataclasses.replace(
            heads,
            num_heads=5,
            num_kv_heads=min(5, heads.num_kv_heads),
            head_dim=14 if isinstance(model.position, c.Rotary) else 7,
            windows=tuple(None if window is None else WINDOW for window in windows),
        ),
        feed_forward=dataclasses.replace(model.feed_forward, d_ff=29),
    )


PALM = shrunk(configs.get("palm_540b").model)
GPT2 = shrunk(configs.get("gpt2_1558m").model)
LLAMA = shrunk(configs.get("llama_65b").model)
LLAMA_GQA = dataclasses.replace(
    LLAMA, attention=dataclasses.replace(LLAMA.attention, num_heads=6, num_kv_heads=3)
)
MODELS = {
    "gpt1": shrunk(configs.get("gpt1_117m").model),
    "gpt2": GPT2,
    "gpt3": shrunk(configs.get("gpt3_175b").model),
    "jurassic1": shrunk(configs.get("jurassic1_178b").model),
    "mt_nlg": shrunk(configs.get("mt_nlg_530b").model),
    "gopher": shrunk(configs.get("gopher_280b").model),
    "chinchilla": shrunk(configs.get("chinchilla_70b").model),
    "palm": PALM,
    "llama": LLAMA,
    "llama_gqa": LLAMA_GQA,
    "llama_tied": dataclasses.replace(LLAMA, tie_embeddings=True),
    "llama_theta": dataclasses.replace(LLAMA_GQA, position=c.Rotary(theta=500_000.0)),
}
"""Every family, and the variants of LLaMA that people use."""
REFERENCES = {
    "gpt1": gpt1.logits,
    "gpt2": gpt2.logits,
    "gpt3": functools.partial(gpt3.logits, windows=MODELS["gpt3"].attention.windows),
    "jurassic1": gpt2.logits,
    "mt_nlg": gpt2.logits,
    "gopher": functools.partial(gopher.logits, eps=MODELS["gopher"].norm.eps),
    "chinchilla": functools.partial(gopher.logits, eps=MODELS["chinchilla"].norm.eps),
    "palm": functools.partial(palm.logits, eps=MODELS["palm"].norm.eps, theta=10_000),
    "llama": functools.partial(llama.logits, eps=1e-5, theta=10_000),
    "llama_gqa": functools.partial(llama.logits, eps=1e-5, theta=10_000),
    "llama_tied": functools.partial(llama.logits, eps=1e-5, theta=10_000),
    "llama_theta": functools.partial(llama.logits, eps=1e-5, theta=500_000),
}
"""The NumPy model of each, with the numbers that its paper publishes and the config's others."""


def random_model(
    config: c.ModelConfig, *, seed: int = 0, execution: Execution = FLOAT32
) -> Transformer:
    """Return a model in which every parameter, biases and norm scales too, changes the result."""
    model = random_parameters(abstract_model(config, execution), seed)
    assert isinstance(model, Transformer)
    return model


def random_parameters(model: Model, seed: int = 0) -> Model:
    """Return the model in which every parameter, biases and norm scales too, changes the result."""
    graphdef, params = nnx.split(model, nnx.Param)
    rng = np.random.default_rng(seed)

    def draw(path: tuple, param: nnx.Variable) -> nnx.Variable:
        middle = 1.0 if path[-1] == "scale" else 0.0
        std = 1.0 if path[-1] in ("embedding", "position_embedding") else 0.3
        return param.replace(jnp.asarray(rng.normal(middle, std, param.shape), jnp.float32))

    drawn = [(path, draw(path, param)) for path, param in nnx.to_flat_state(params)]
    return nnx.merge(graphdef, nnx.from_flat_state(drawn))


@functools.partial(jax.jit, static_argnums=0)
def initial_params(config: c.ModelConfig) -> nnx.State:
    """Return the parameters with which training starts."""
    return nnx.state(Transformer(config, rngs=nnx.Rngs(0)), nnx.Param)


def random_tokens(config: c.ModelConfig, batch_size: int, seq_len: int, seed: int = 0):
    """Draw int32 ids [B, T] from the whole vocabulary."""
    rng = np.random.default_rng(seed)
    return rng.integers(config.vocab_size, size=(batch_size, seq_len), dtype=np.int32)


def to_numpy(params: nnx.State) -> dict[str, np.ndarray]:
    """Return the float64 values of all parameters by their dotted names."""
    return {
        ".".join(map(str, path)): np.asarray(value[...], np.float64)
        for path, value in nnx.to_flat_state(params)
    }


def hidden(
    model: Transformer, tokens, positions: Positions | None = None, dropout_key=None
) -> jax.Array:
    """Return hidden states [B, T, D]; without `positions`, each row is one document."""
    positions = positions or Positions.whole_rows(*tokens.shape)
    return _hidden_and_logits(model, tokens, positions, dropout_key)[0]


def logits(model: Transformer, tokens, positions: Positions | None = None) -> jax.Array:
    """Return logits [B, T, V]; without `positions`, each row is one document."""
    positions = positions or Positions.whole_rows(*tokens.shape)
    return _hidden_and_logits(model, tokens, positions, None)[1]


def reference_logits(name: str, model: Transformer, tokens) -> np.ndarray:
    """Return the logits [T, V] of one document in float64, by the equations of `name`'s paper."""
    return REFERENCES[name](to_numpy(nnx.state(model, nnx.Param)), tokens)


def _hidden_and_logits(model: Transformer, tokens, positions: Positions, dropout_key):
    graphdef, params = nnx.split(model, nnx.Param)
    return _jitted(graphdef, params, tokens, positions, dropout_key)


@functools.partial(jax.jit, static_argnums=0)
def _jitted(graphdef, params, tokens, positions, dropout_key):
    model: Transformer = nnx.merge(graphdef, params)
    hidden, _ = model(tokens, positions, dropout_key=dropout_key)
    return hidden, model.logits(hidden)
