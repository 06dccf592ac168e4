"""Results as a table for a terminal, and as rows of Markdown."""

from collections.abc import Iterator

from zoo.benchmarking.results import Change, Result
from zoo.benchmarking.spread import Figure, Spread
from zoo.benchmarking.workload import CONVENTION
from zoo.explaining.terminal import column_widths

LABELS = {
    "step_s": "step",
    "first_token_s": "prompt to first token",
    "call_s": "whole call",
    "tokens_per_s": "tokens per second",
    "loop_tokens_per_s": "after the first token",
    "flops_per_s": "model FLOPs",
    "mfu": "MFU",
    "bandwidth_share": "share of memory bandwidth",
    "compile_s": "first call, beyond that",
    "peak_bytes": "peak memory",
    "cut_tokens_per_s": "rows that cut documents",
    "packed_tokens_per_s": "rows of whole documents",
    "help_s": "zoo.train --help",
    "first_token_cold_s": "zoo.sample, one token, cold",
    "first_token_warm_s": "the same again",
}
MARKDOWN_HEAD = (
    "| what | model | shape | on | median (quartiles) | against | times as fast |\n"
    "|---|---|---|---|---|---|---|\n"
)


def table(result: Result, change: Change | None) -> str:
    """Return the figures of a result, one a line, and how they compare."""
    rows: list[tuple[str, ...]] = [("", "zoo")]
    if result.against is not None:
        rows[0] += (result.against, "ratio")
    for name, figure in result.figures.items():
        ratio = result.ratio(name)
        rows.append((LABELS[name], _cell(figure)))
        if result.their_figures is not None and ratio is not None:
            rows[-1] += (_cell(result.their_figures[name]), _times(ratio))
    width = max(map(len, rows))
    rows = [row + ("",) * (width - len(row)) for row in rows]
    widths = column_widths(rows)
    title = f"{result.workload.what}: {result.model}, {result.workload.describe()}; {_on(result)}"
    lines = [f"{title}; median of {result.repeats} (quartiles)"]
    lines += ["  " + "  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return "\n".join([*lines, *(f"  {note}" for note in _notes(result, change))])


def markdown_row(result: Result) -> str:
    """Return the first figure of a result as a row below MARKDOWN_HEAD."""
    name, figure = next(iter(result.figures.items()))
    ratio = result.ratio(name)
    theirs, times = "", ""
    if result.their_figures is not None and ratio is not None:
        theirs = f"{result.against}: {_cell(result.their_figures[name])}"
        times = _times(ratio)
    speed = result.figures.get("tokens_per_s")
    value = _cell(figure) + ("" if speed is None else f"; {_cell(speed)}")
    cells = result.workload.what, result.model, result.workload.describe()
    cells = *cells, _on(result), value, theirs, times
    return "| " + " | ".join(cells) + " |\n"


def change_line(change: Change) -> str:
    """Return how a result compares with its predecessor, in words."""
    label = LABELS[change.figure]
    since = f"since {change.since['time']} (commit {change.since['commit'] or 'unknown'})"
    if change.is_slowdown:
        return f"SLOWER: {label} is {1 / change.ratio:.2f} times worse {since}, beyond the spread"
    return f"{label}: {change.ratio:.2f} times as good as {since}"


def _notes(result: Result, change: Change | None) -> Iterator[str]:
    if "flops_per_s" in result.figures:
        share = "" if result.workload.what == "train" else ", a third of it for the forward pass"
        yield f"model FLOPs and MFU: {CONVENTION}{share}"
        if "mfu" not in result.figures:
            yield "MFU n/a: it is defined for bfloat16 on a chip whose peak is published"
    if result.workload.what == "decode":
        size = result.workload.bytes_per_drawn_token / 1e6
        source = "as published"
        if result.bandwidths:
            source = (
                f"{Spread.of(result.bandwidths).median / 1e9:.1f} GB/s, measured after each repeat"
            )
        yield f"a step reads {size:,.0f} MB at least; memory bandwidth {source}"
    if change is not None:
        yield change_line(change)


def _on(result: Result) -> str:
    """Return the devices in words."""
    device = result.hardware
    return f"{device['num_devices']} x {device['device_kind']} ({device['processor']})"


def _times(ratio: Spread) -> str:
    median, low, high = (f"{value:.2f}" if value >= 0.1 else f"{value:.1g}" for value in ratio)
    return f"{median}x" + (f" ({low} to {high})" if low != high else "")


def _cell(figure: Figure) -> str:
    """Return the median with its unit, and the quartiles if there are repeats."""
    spread, unit = figure.spread, figure.unit
    values = spread.median, spread.low, spread.high
    match unit:
        case "s":
            milli = spread.median < 0.1
            scale, digits, unit = (1e3, 1, "ms") if milli else (1, 2, "s")
        case "FLOP/s":
            tera = spread.median >= 1e12
            scale, digits, unit = (1e-12, 1, "TFLOP/s") if tera else (1e-9, 1, "GFLOP/s")
        case "bytes":
            scale, digits, unit = 1 / 2**30, 2, "GiB"
        case "share":
            scale, digits, unit = 100, 1, "%"
        case _:
            scale, digits = 1, 0 if spread.median >= 100 else 1
    median, low, high = (f"{scale * value:,.{digits}f}" for value in values)
    return f"{median} {unit}" + (f" ({low} to {high})" if len(figure.values) > 1 else "")
