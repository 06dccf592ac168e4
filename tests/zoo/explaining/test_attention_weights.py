import numpy as np
import pytest

import zoo
from models.config import ConfigError
from zoo.explaining.attention_weights import attention_weights

TEXT = "def loss ( x ) : return x"


@pytest.fixture(scope="module")
def model(trained):
    return zoo.load(trained.workdir)


def test_every_token_spreads_a_weight_of_one_over_itself_and_those_before(model):
    found = attention_weights(model, TEXT)
    heads, length = model.experiment.model, len(found.tokens)
    shape = heads.num_layers, heads.attention.num_heads, length, length
    assert found.weights.shape == shape
    np.testing.assert_allclose(found.weights.sum(axis=-1), 1, rtol=1e-5)
    assert np.all(found.weights[..., *np.triu_indices(length, 1)] == 0)
    assert np.all(found.weights[..., *np.tril_indices(length)] > 0)
    assert "".join(found.tokens).replace("·", "").split() == TEXT.split()


def test_mean_distance_counts_the_tokens_between_query_and_key(model):
    found = attention_weights(model, "a model reads tokens")
    expected = sum(
        found.weights[1, 0, t, s] * (t - s) for t in range(len(found.tokens)) for s in range(t + 1)
    )
    assert found.mean_distance()[1, 0] == pytest.approx(expected / len(found.tokens), rel=1e-5)


def test_picture_has_a_square_per_head_and_names_the_tokens_of_one(model):
    found = attention_weights(model, "a model reads")
    every = found.picture("svg").decode()
    assert every.count("<image") == found.weights.shape[0] * found.weights.shape[1]
    assert found.head(1, 0)._repr_png_().startswith(b"\x89PNG")
    assert found.head(1, 0).picture("svg").decode().count("<image") == 1


def test_a_text_longer_than_the_context_is_refused(model):
    with pytest.raises(ConfigError, match="write one of 1 to"):
        attention_weights(model, "model " * 1000)
