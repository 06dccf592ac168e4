"""Collectives read from XLA's text: written by hand in each of its notations, and compiled."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from tests.models import experiments
from zoo.planning.speed.collectives import Collective, collectives

HLO = """HloModule m, num_partitions=8

%cond (p: (s32[], f32[8])) -> pred[] {
  %limit = s32[]{:T(128)} constant(5)
  %p = (s32[], f32[8]) parameter(0)
  %i = s32[] get-tuple-element(%p), index=0
  ROOT %lt = pred[] compare(%i, %limit), direction=LT
}

%body (p: (s32[], f32[8])) -> (s32[], f32[8]) {
  %x = bf16[4,64]{1,0:T(8,128)(2,1)} parameter(0)
  %gathered = bf16[4,64]{1,0:T(8,128)(2,1)} all-gather(%x), replica_groups=GROUPS, dimensions={0}
}

%all-reduce-scatter.1 (q: f32[64]) -> f32[16] {
  %q = f32[64]{0} parameter(0)
  ROOT %all-reduce.1 = f32[64]{0} all-reduce(%q), replica_groups={{0,1,2,3},{4,5,6,7}}
}

ENTRY %main (a: f32[8]) -> f32[8] {
  %w = (s32[], f32[8]) while(%a), condition=%cond, body=%body
  %s = f32[16]{0} fusion(%a), kind=kCustom, calls=%all-reduce-scatter.1
  %r = (f32[8]{0}, f32[2]{0}) all-reduce(%a, %b), replica_groups={{0,4},{1,5},{2,6},{3,7}}
  %start = (f32[8]{0}, f32[8]{0}, u32[], u32[]) collective-permute-start(%a), \
source_target_pairs={{0,1},{1,0}}
  %done = f32[8]{0} collective-permute-done(%start)
}
"""


@pytest.mark.parametrize(
    ("groups", "across"),
    [
        ("{{0,1,2,3},{4,5,6,7}}", False),
        ("[2,4]<=[8]", False),
        ("[2,4]<=[4,2]T(1,0)", True),
        ("mesh['a'=2,'b'=4] {'b'}", False),
        ("mesh['a'=4,'b'=2] {'a'}", True),
        ("mesh['a'=4,'b'=2], device_ids=([2,4]T(1,0)) {'a'}", False),
        ("mesh['a'=8] {'a':(2)4}", False),
        ("mesh['a'=4,'b'=2] {'a':(1)2,'b'}", True),
        ("mesh['a'=2,'b'=4], device_ids=([4,2]T(1,0)) {'b'}", True),
    ],
)
def test_every_notation_counts_loops_bytes_and_islands(groups: str, across: bool):
    program = HLO.replace("GROUPS", groups)
    gathered = 5 * 4 * 64 * 2 * 3 // 4
    # Two of the four devices of each such group are neighbours.
    over_network = gathered // 2 if across else 0
    assert set(collectives(program, devices_per_island=4)) == {
        Collective("all-gather", across, 5, gathered, over_network),
        Collective("reduce-scatter", False, 1, 64 * 4 * 3 // 4, 0),
        Collective("all-reduce", True, 1, 2 * (8 + 2) * 4 // 2, 2 * (8 + 2) * 4 // 2),
        Collective("collective-permute", False, 1, 8 * 4, 0),
    }


def test_an_empty_list_of_groups_means_all_devices():
    gathered = 5 * 4 * 64 * 2 * 7 // 8
    assert Collective("all-gather", True, 5, gathered, gathered // 4) in collectives(
        HLO.replace("GROUPS", "{}"), devices_per_island=4
    )


@pytest.mark.parametrize(
    ("dtype", "value_bytes"),
    [("pred", 1), ("s4", 0.5), ("f8e4m3fn", 1), ("bf16", 2), ("f32", 4), ("c64", 8), ("c128", 16)],
)
def test_bytes_follow_from_the_name_of_the_type(dtype: str, value_bytes: float):
    program = HLO.replace("bf16[4,64]", f"{dtype}[4,64]").replace("GROUPS", "{}")
    sent = {c.bytes for c in collectives(program, 8) if c.kind == "all-gather"}
    assert sent == {5 * round(4 * 64 * value_bytes * 7 / 8)}


def test_an_unknown_notation_is_an_error():
    with pytest.raises(ValueError, match="unknown notation"):
        collectives(HLO.replace("GROUPS", "<8>"), devices_per_island=4)


def compiled_scan(num_layers: int) -> list[Collective]:
    """Compile layers whose weights are gathered from eight devices, one layer after the other."""
    mesh = jax.make_mesh((8,), ("fsdp",), axis_types=(AxisType.Auto,))

    def sharded(*axes):
        return NamedSharding(mesh, PartitionSpec(*axes))

    def layer(x, weight):
        return jnp.tanh(x @ jax.lax.with_sharding_constraint(weight, sharded())), None

    x = jax.ShapeDtypeStruct((16, 32), jnp.float32, sharding=sharded("fsdp"))
    weights = jax.ShapeDtypeStruct(
        (num_layers, 32, 32), jnp.float32, sharding=sharded(None, "fsdp")
    )
    program = jax.jit(lambda x, weights: jax.lax.scan(layer, x, weights)[0])
    text = program.lower(x, weights).compile().as_text()
    assert text is not None
    return collectives(text, 8)


def test_a_compiled_scan_gathers_once_a_layer():
    compiled = experiments.on_eight_devices(compiled_scan, 6)
    assert compiled == [Collective("all-gather", False, 6, 6 * 32 * 32 * 4 * 7 // 8, 0)]
