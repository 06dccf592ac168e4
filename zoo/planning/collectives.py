"""What a compiled program sends between devices, read off XLA's text of it.

XLA's own cost analysis counts the body of a loop once; here it counts as often as it runs.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

_BYTES = {"pred": 1, "bf16": 2, "f16": 2, "f64": 8, "s64": 8, "u64": 8, "c64": 8}
_KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute", "send")
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = (.*?) ([a-z][a-z0-9\-]*)\((.*)$")
_BY_AXES = re.compile(
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
    """Whether it uses the network between slices (or nodes), not only the links within one."""
    count: int
    bytes: int
    """What the device sends, by a ring: (n - 1) / n of a gathered or scattered array in a group of n,
    twice that for an all-reduce."""


@dataclass(frozen=True)
class _Instruction:
    name: str
    shape: str
    kind: str
    rest: str


def collectives(hlo: str, devices_per_island: int) -> list[Collective]:
    """The collectives of a compiled program (`compiled.as_text()`), most bytes first.

    A loop whose length cannot be read counts once.
    """
    computations, entry = _parse(hlo)
    partitions = re.search(r"num_partitions=(\d+)", hlo)
    num_devices = int(partitions[1]) if partitions else 1
    found: dict[tuple[str, bool], list[int]] = {}
    for name, times in _calls(computations, entry):
        is_scatter = name.startswith("all-reduce-scatter")
        for instruction in computations[name]:
            kind = instruction.kind.removesuffix("-start")
            if kind not in _KINDS:
                continue
            size, across = _group(instruction, num_devices, devices_per_island)
            kind = "reduce-scatter" if is_scatter and kind == "all-reduce" else kind
            sent = _sent_bytes(kind, instruction, size, is_scatter)
            total = found.setdefault((kind, across), [0, 0])
            total[0] += times
            total[1] += times * round(sent)
    ordered = sorted(found.items(), key=lambda item: -item[1][1])
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
    """Every computation that runs, with how often it runs."""
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
    """How often a loop's body runs: as XLA noted it, else the constant to which its condition compares
    a counter that starts at 0."""
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


def _group(
    instruction: _Instruction, num_devices: int, devices_per_island: int
) -> tuple[int, bool]:
    """Devices that take part together, and whether some of them lie on different islands."""
    if instruction.kind.startswith("collective-permute"):
        pairs = re.search(r"source_target_pairs=\{(\{.*?\})\}", instruction.rest)
        groups = [] if pairs is None else _explicit(pairs[1])
        size = 2
    elif instruction.kind == "send":
        return 2, True  # what XLA sends through the hosts
    else:
        groups = _replica_groups(instruction.rest, num_devices)
        size = len(groups[0])
    across = any(len({int(device) // devices_per_island for device in g}) > 1 for g in groups)
    return size, across


def _replica_groups(rest: str, num_devices: int) -> list:
    """XLA's three ways of writing them: listed (none: all devices), as a transposed range, by the axes
    of a mesh. Raises ValueError for any other: a wrong count would not be noticed."""
    if listed := re.search(r"replica_groups=\{(\{.*?\})?\}", rest):
        return _explicit(listed[1]) if listed[1] else [list(range(num_devices))]
    if ranged := re.search(r"replica_groups=\[([\d,]+)\]<=(\[[\d,]+\](?:T\([\d,]+\))?)", rest):
        return list(_devices(ranged[2]).reshape(_numbers(ranged[1])))
    if by_axes := _BY_AXES.search(rest):
        axes, order, chosen = by_axes.groups()
        lengths: list[int] = []
        places: list[int] = []
        for axis, length in re.findall(r"'(\w+)'=(\d+)", axes):
            # 'a':(2)4 is the part of 4 of an axis of 2 x 4 x the rest.
            part = re.search(rf"'{axis}'(?::\((\d+)\)(\d+))?", chosen)
            before, size = map(int, part.groups()) if part and part[1] else (1, int(length))
            if part:
                places.append(len(lengths) + 1)
            lengths += [before, size, int(length) // (before * size)]
        devices = _devices(order or f"[{num_devices}]").reshape(lengths)
        devices = np.moveaxis(devices, places, range(-len(places), 0))
        return list(devices.reshape(-1, math.prod(devices.shape[-len(places) :])))
    raise ValueError(f"replica groups in an unknown notation: {rest[:300]}")


def _devices(order: str) -> np.ndarray:
    """`[4,2]T(1,0)`: the numbers 0 to 7 as an array of 4 x 2, transposed."""
    dims, _, transposed = order.partition("]")
    dims = _numbers(dims.strip("["))
    places = _numbers(transposed.strip("T()")) or list(range(len(dims)))
    return np.arange(math.prod(dims)).reshape(dims).transpose(places)


def _explicit(groups: str) -> list[list[int]]:
    return [_numbers(group) for group in re.findall(r"\{([\d,]*)\}", groups)]


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",") if number]


def _sent_bytes(kind: str, instruction: _Instruction, size: int, is_scatter: bool) -> float:
    arrays = [
        math.prod(_numbers(dims)) * _BYTES.get(dtype, 1 if dtype.startswith("f8") else 0)
        or math.prod(_numbers(dims)) * int(re.sub(r"\D", "", dtype) or 8) / 8
        for dtype, dims in re.findall(r"([a-z]+\d*\w*)\[([\d,]*)\]", instruction.shape)
    ]
    starts = instruction.kind.endswith("-start") and instruction.shape.startswith("(")
    if kind in ("collective-permute", "send"):
        return arrays[0] if starts or kind == "send" else sum(arrays)
    whole = max(arrays) if starts else sum(arrays)
    if kind == "reduce-scatter" and not is_scatter:
        whole *= size  # its result is one piece
    return (2 if kind == "all-reduce" else 1) * whole * (size - 1) / size
