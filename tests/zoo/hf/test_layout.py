"""The table of tensors: shapes, and that reading undoes writing."""

import numpy as np
import pytest
from flax import nnx

from models.model import abstract_params
from zoo.hf.config import to_model_config
from zoo.hf.layout import LAYOUTS, Row, rows_of

GROUPED = {
    "model_type": "llama",
    "vocab_size": 53,
    "hidden_size": 18,
    "num_attention_heads": 6,
    "num_key_value_heads": 3,
    "head_dim": 14,
    "intermediate_size": 29,
}
GPT2 = {"model_type": "gpt2", "vocab_size": 53, "n_embd": 21, "n_head": 3, "n_inner": 29}


def parameters(config) -> set[str]:
    flat = nnx.to_flat_state(abstract_params(to_model_config(config)[1]))
    return {".".join(map(str, path)) for path, _ in flat}


@pytest.mark.parametrize("config", [GROUPED, GPT2, {"model_type": "openai-gpt"}])
def test_every_parameter_has_its_row_and_its_shape_comes_out(config):
    name, model = to_model_config(config)
    shapes = {
        ".".join(map(str, path)): leaf.get_value().shape
        for path, leaf in nnx.to_flat_state(abstract_params(model))
    }
    rng = np.random.default_rng(0)
    for row in rows_of(LAYOUTS[name], set(shapes)):
        tensor = rng.standard_normal(row.their_shape(model))
        parts = row.to_ours(tensor, model)
        for path, part in zip(row.ours, parts, strict=True):
            assert shapes.pop(path)[row.is_stacked :] == part.shape
        np.testing.assert_array_equal(row.to_theirs(parts, model), tensor)
    assert not shapes


def test_a_fused_tensor_comes_apart_along_its_output():
    _, model = to_model_config(GPT2)
    row = next(row for row in LAYOUTS["gpt2"].rows if row.theirs.endswith("c_attn.weight"))
    tensor = np.arange(21 * 63).reshape(21, 63)
    query, key, value = row.to_ours(tensor, model)
    for part, columns in ((query, slice(0, 21)), (key, slice(21, 42)), (value, slice(42, 63))):
        np.testing.assert_array_equal(part.reshape(21, 21), tensor[:, columns])


def test_linear_and_conv1d_are_each_others_transpose():
    _, model = to_model_config(GPT2)
    tensor = np.arange(21 * 29.0).reshape(21, 29)
    conv = Row("conv", "D F", ("up",), "D F")
    linear = Row("linear", "F D", ("up",), "D F")
    assert (conv.their_shape(model), linear.their_shape(model)) == ((21, 29), (29, 21))
    np.testing.assert_array_equal(conv.to_ours(tensor, model), linear.to_ours(tensor.T, model))


def test_a_table_with_a_hole_is_noticed():
    with pytest.raises(AssertionError, match="holes"):
        rows_of(LAYOUTS["gpt2"], parameters(GROUPED))
