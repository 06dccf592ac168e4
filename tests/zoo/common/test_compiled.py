import jax
import jax.numpy as jnp
import pytest

from zoo.common import compiled

IS_LINUX = pytest.mark.skipif(not compiled._MAPPINGS.exists(), reason="Linux counts mappings")


@IS_LINUX
def test_programs_are_released_once_they_take_too_many_mappings():
    traced = []

    @jax.jit
    def double(x):
        traced.append(x)
        return 2 * x

    assert double(jnp.ones(3)).sum() == 6
    assert not compiled.release_programs(share=1.0)
    assert double(jnp.ones(3)).sum() == 6
    assert len(traced) == 1
    assert compiled.release_programs(share=0.0)
    assert double(jnp.ones(3)).sum() == 6
    assert len(traced) == 2


def test_where_mappings_are_not_counted_nothing_is_released(monkeypatch, tmp_path):
    monkeypatch.setattr(compiled, "_MAPPINGS", tmp_path / "nowhere")
    assert not compiled.release_programs(share=0.0)
