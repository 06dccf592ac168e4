"""Decode speed and cache bytes, checked against arrays that are really allocated."""

import dataclasses

import numpy as np
import pytest

from models.config import ConfigError
from zoo.lessons import heads
from zoo.lessons.catalog import Heads
from zoo.lessons.heads import Decoder

NANO = Heads(
    num_heads=4, kv_heads=(4, 2, 1), head_dim=8, num_layers=2, lengths=(128, 256),
    batch_sizes=(1, 2), repeats=2,
)  # fmt: skip


@pytest.mark.parametrize("num_kv_heads", NANO.kv_heads)
@pytest.mark.parametrize("length", NANO.lengths)
def test_the_cache_bytes_are_those_of_the_arrays(num_kv_heads, length):
    decoder = Decoder.make(NANO, num_kv_heads)
    cells = decoder.filled(2, length, room=length).cache.layers
    allocated = sum(each.keys.nbytes + each.values.nbytes for each in cells)
    assert decoder.cache_bytes(2, length) == allocated
    assert allocated == 2 * 2 * length * num_kv_heads * 8 * 2 * decoder.value_bytes


def test_only_the_key_and_value_heads_differ():
    many, one = (Decoder.make(NANO, number).model for number in (4, 1))
    same = dataclasses.replace(one.attention, num_kv_heads=4)
    assert dataclasses.replace(one, attention=same) == many
    assert one.attention.num_heads == 4
    assert Decoder.make(NANO, 4).cache_bytes(1, 128) == 4 * Decoder.make(NANO, 1).cache_bytes(
        1, 128
    )


def test_a_step_reads_the_weights_once_and_the_cache_of_every_row():
    decoder = Decoder.make(NANO, 2)
    one, three = (decoder.read_bytes(number, 128) for number in (1, 3))
    assert three - one == 2 * decoder.cache_bytes(1, 128)


def test_calls_go_on_where_the_last_one_ended():
    decoder = Decoder.make(NANO, 2)
    state = decoder.filled(2, 128, room=256)
    assert int(state.cache.length) == 128
    assert state.next_position.tolist() == [128, 128]
    assert np.asarray(state.cache.positions.segment_ids).sum() == 2 * 128
    call = decoder.steps(2, 128, 256)
    assert call().shape == call().shape == (heads.CHUNK, 2)


def test_the_lesson_says_that_every_head_has_its_own_query():
    lines = []
    shown = heads.show(NANO, lines.append)
    assert len(lines) == 4
    found = shown.to_json()
    assert [each["num_kv_heads"] for each in found["compared"]] == [4, 2, 1]
    assert {each["num_heads"] for each in found["compared"]} == {4}
    assert len(found["measured"]) == 3 * 4
    first = found["measured"][0]
    assert first["times_as_fast"] == {"median": 1.0, "low": 1.0, "high": 1.0}
    assert len(first["step_s"]["values"]) == NANO.repeats
    assert "a query for every head" in shown.seen[-1]
    assert len(shown.panels) == 2 + 1


def test_heads_that_do_not_divide_are_one_message():
    with pytest.raises(ConfigError, match="num_kv_heads=3 must divide num_heads=4"):
        Decoder.make(NANO, 3)
