"""Reading collectives off XLA's text: written by hand in each of its notations, and compiled."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from tests.models import experiments
from zoo.planning.collectives import Collective, collectives

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
  %start = (f32[8]{0}, f32[8]{0}, u32[], u32[]) collective-permute-start(%a), source_target_pairs={{0,1},{1,0}}
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
    found = collectives(HLO.replace("GROUPS", groups), devices_per_island=4)
    assert set(found) == {
        Collective("all-gather", across, 5, 5 * 4 * 64 * 2 * 3 // 4),
        Collective("reduce-scatter", False, 1, 64 * 4 * 3 // 4),
        Collective("all-reduce", True, 1, 2 * (8 + 2) * 4 // 2),
        Collective("collective-permute", False, 1, 8 * 4),
    }


def test_no_groups_are_all_devices():
    assert Collective("all-gather", True, 5, 5 * 4 * 64 * 2 * 7 // 8) in collectives(
        HLO.replace("GROUPS", "{}"), devices_per_island=4
    )


def test_an_unknown_notation_is_not_counted_as_nothing():
    with pytest.raises(ValueError, match="unknown notation"):
        collectives(HLO.replace("GROUPS", "<8>"), devices_per_island=4)


def compiled_scan(num_layers: int) -> list[Collective]:
    """Layers whose weights are gathered from eight devices, one after the other."""
    mesh = jax.make_mesh((8,), ("fsdp",), axis_types=(AxisType.Auto,))

    def place(*axes):
        return NamedSharding(mesh, PartitionSpec(*axes))

    def layer(x, weight):
        return jnp.tanh(x @ jax.lax.with_sharding_constraint(weight, place())), None

    x = jax.ShapeDtypeStruct((16, 32), jnp.float32, sharding=place("fsdp"))
    weights = jax.ShapeDtypeStruct((num_layers, 32, 32), jnp.float32, sharding=place(None, "fsdp"))
    program = jax.jit(lambda x, weights: jax.lax.scan(layer, x, weights)[0])
    text = program.lower(x, weights).compile().as_text()
    assert text is not None
    return collectives(text, 8)


def test_a_compiled_scan_gathers_once_a_layer():
    found = experiments.on_eight_devices(compiled_scan, 6)
    assert found == [Collective("all-gather", False, 6, 6 * 32 * 32 * 4 * 7 // 8)]
