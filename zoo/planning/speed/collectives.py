"""The collectives of a compiled program, read from XLA's text of it.

XLA's own cost analysis counts the body of a loop once; here it counts as often as it runs.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

_KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute", "send")
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = (.*?) ([a-z][a-z0-9\-]*)\((.*)$")
_GROUPS_BY_AXES = re.compile(
    r"replica_groups=mesh\[([^\]]*)\](?:, device_ids=\((\[[\d,]+\](?:T\([\d,]+\))?)\))? \{([^}]*)\}"
)
_CALLS = re.compile(
    r"(?:calls|to_apply|true_computation|false_computation)=%?([\w.\-]+)"
    r"|branch_computations=\{([^}]*)\}"
)


@dataclass(frozen=True)
class Collective:
    """All operations of one kind that one device takes part in during one step."""

    kind: str
    across_slices: bool
    """True if they use the network between slices (or nodes), not only the links within one."""
    count: int
    bytes: int
    """Bytes that the device sends: (n - 1) / n of a gathered or scattered array in a ring of n
    devices, twice that for an all-reduce."""
    network_bytes: int
    """The part of them that leaves the slice (or node). A ring leaves it once: of k neighbours in
    the ring, each sends 1/k of its bytes over the network, and the rest over links."""


@dataclass(frozen=True)
class _Instruction:
    name: str
    shape: str
    kind: str
    rest: str


def collectives(hlo: str, devices_per_island: int) -> list[Collective]:
    """Return the collectives of a compiled program (`compiled.as_text()`), most bytes first.

    A loop whose length cannot be read counts once. Raises ValueError for replica groups in an
    unknown notation.

    Args:
      devices_per_island: devices, numbered in sequence, that links join instead of the network.
    """
    computations, entry = _parse(hlo)
    partitions = re.search(r"num_partitions=(\d+)", hlo)
    num_devices = int(partitions[1]) if partitions else 1
    totals: dict[tuple[str, bool], list[int]] = {}
    for name, times in _calls(computations, entry):
        is_scatter = name.startswith("all-reduce-scatter")
        for instruction in computations[name]:
            kind = instruction.kind.removesuffix("-start")
            if kind not in _KINDS:
                continue
            size, neighbours = _group(instruction, num_devices, devices_per_island)
            kind = "reduce-scatter" if is_scatter and kind == "all-reduce" else kind
            sent = _sent_bytes(kind, instruction, size, is_scatter)
            across = neighbours < size
            total = totals.setdefault((kind, across), [0, 0, 0])
            total[0] += times
            total[1] += times * round(sent)
            total[2] += times * round(sent / neighbours) if across else 0
    ordered = sorted(totals.items(), key=lambda item: -item[1][1])
    return [Collective(*key, *total) for key, total in ordered]


def _parse(hlo: str) -> tuple[dict[str, list[_Instruction]], str]:
    computations: dict[str, list[_Instruction]] = {}
    entry, current = "", []
    for line in hlo.splitlines():
        if head := _COMPUTATION.match(line):
            current = computations.setdefault(head[2], [])
            entry = head[2] if head[1] else entry
        elif instruction := _INSTRUCTION.match(line):
            current.append(_Instruction(*instruction.groups()))
    return computations, entry


def _calls(computations: dict, name: str, times: int = 1) -> Iterator[tuple[str, int]]:
    """Yield every computation that runs, and the number of times that it runs."""
    yield name, times
    for instruction in computations[name]:
        if instruction.kind == "while":
            body = re.search(r"body=%?([\w.\-]+)", instruction.rest)
            assert body is not None
            yield from _calls(computations, body[1], times * _trip_count(computations, instruction))
            continue
        for single, several in _CALLS.findall(instruction.rest):
            for called in [single] if single else re.findall(r"[\w.\-]+", several):
                yield from _calls(computations, called, times)


def _trip_count(computations: dict, loop: _Instruction) -> int:
    """Return the number of times that a loop's body runs.

    Read it from XLA's own note, or else from the constant to which the loop's condition compares a
    counter that starts at 0; it is 1 if there is neither.
    """
    if known := re.search(r'known_trip_count[^}]*"n":"(\d+)"', loop.rest):
        return int(known[1])
    condition = re.search(r"condition=%?([\w.\-]+)", loop.rest)
    assert condition is not None
    constants = {
        i.name: int(number[1])
        for i in computations[condition[1]]
        if i.kind == "constant" and (number := re.match(r"(\d+)\)", i.rest))
    }
    for instruction in computations[condition[1]]:
        if instruction.kind == "compare" and "direction=LT" in instruction.rest:
            operands = re.findall(r"%([\w.\-]+)", instruction.rest.split(")")[0])
            if operands[-1] in constants:
                return constants[operands[-1]]
    return 1


def _group(instruction: _Instruction, num_devices: int, devices_per_island: int) -> tuple[int, int]:
    """Return how many devices take part, and the fewest of them that share an island."""
    if instruction.kind.startswith("collective-permute"):
        pairs = re.search(r"source_target_pairs=\{(\{.*?\})\}", instruction.rest)
        groups = [] if pairs is None else _listed(pairs[1])
        size = 2
    elif instruction.kind == "send":
        return 2, 1  # XLA sends through the hosts
    else:
        groups = _replica_groups(instruction.rest, num_devices)
        size = len(groups[0])
    islands = (Counter(int(device) // devices_per_island for device in g) for g in groups)
    return size, min((min(island.values()) for island in islands), default=size)


def _replica_groups(rest: str, num_devices: int) -> list:
    """Read replica groups in any of XLA's three notations.

    They are a list (an empty one is all devices), a transposed range, and the axes of a mesh.
    Raises ValueError for any other, since nobody would notice a wrong count.
    """
    if listed := re.search(r"replica_groups=\{(\{.*?\})?\}", rest):
        return _listed(listed[1]) if listed[1] else [list(range(num_devices))]
    if ranged := re.search(r"replica_groups=\[([\d,]+)\]<=(\[[\d,]+\](?:T\([\d,]+\))?)", rest):
        return list(_devices(ranged[2]).reshape(_numbers(ranged[1])))
    if by_axes := _GROUPS_BY_AXES.search(rest):
        axes, order, chosen = by_axes.groups()
        lengths: list[int] = []
        chosen_dims: list[int] = []
        for axis, length in re.findall(r"'(\w+)'=(\d+)", axes):
            # 'a':(2)4 is the factor 4 of an axis 'a' of length 2 x 4 x the rest.
            part = re.search(rf"'{axis}'(?::\((\d+)\)(\d+))?", chosen)
            before, size = map(int, part.groups()) if part and part[1] else (1, int(length))
            if part:
                chosen_dims.append(len(lengths) + 1)
            lengths += [before, size, int(length) // (before * size)]
        devices = _devices(order or f"[{num_devices}]").reshape(lengths)
        devices = np.moveaxis(devices, chosen_dims, range(-len(chosen_dims), 0))
        return list(devices.reshape(-1, math.prod(devices.shape[-len(chosen_dims) :])))
    raise ValueError(f"replica groups are in an unknown notation: {rest[:300]}")


def _devices(order: str) -> np.ndarray:
    """Return device numbers in an order: `[4,2]T(1,0)` is 0 to 7 as a 4 x 2 array, transposed."""
    dims, _, transposed = order.partition("]")
    dims = _numbers(dims.strip("["))
    permutation = _numbers(transposed.strip("T()")) or list(range(len(dims)))
    return np.arange(math.prod(dims)).reshape(dims).transpose(permutation)


def _listed(groups: str) -> list[list[int]]:
    return [_numbers(group) for group in re.findall(r"\{([\d,]*)\}", groups)]


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",") if number]


def _sent_bytes(kind: str, instruction: _Instruction, size: int, is_scatter: bool) -> float:
    """Return what one device sends in a collective of `size` devices.

    An asynchronous start lists its operands before its results; the largest array is the whole one.
    """
    arrays = [
        math.prod(_numbers(dims)) * _value_bytes(dtype)
        for dtype, dims in re.findall(r"([a-z]+\d*\w*)\[([\d,]*)\]", instruction.shape)
    ]
    lists_operands = instruction.kind.endswith("-start") and instruction.shape.startswith("(")
    if kind == "send" or (lists_operands and kind == "collective-permute"):
        array_bytes = arrays[0]
    elif lists_operands:
        array_bytes = max(arrays)
    else:
        array_bytes = sum(arrays)
    if kind == "reduce-scatter" and not is_scatter:
        array_bytes *= size  # its result is one shard
    return ring_bytes(kind, array_bytes, size)


def _value_bytes(dtype: str) -> float:
    """Return the bytes of one value of an XLA type, from its name: bf16, s4, f8e4m3fn.

    A type whose name does not give its bits, such as pred, takes one byte.
    """
    bits = re.search(r"\d+", dtype)
    return int(bits[0]) / 8 if bits else 1


def ring_bytes(kind: str, array_bytes: float, num_devices: int) -> float:
    """Return the bytes that each device of a ring sends in one collective.

    Args:
      array_bytes: bytes of the whole array, not of one device's shard.
    """
    sent = array_bytes * (num_devices - 1) / num_devices
    match kind:
        case "collective-permute" | "send":
            return array_bytes
        case "all-reduce":  # a reduce-scatter and an all-gather
            return 2 * sent
        case _:
            return sent
