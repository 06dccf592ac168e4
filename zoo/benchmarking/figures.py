"""The figures of a measurement, from the seconds of its repeats."""

from zoo.benchmarking.processes import Measured
from zoo.benchmarking.spread import Figure
from zoo.planning.hardware import PlannableChip, chip_of

Figures = dict[str, Figure]
"""Figures by name; the first is the one by which a slowdown is judged."""


def figures_of(measured: Measured, bandwidths: list[float]) -> Figures:
    """Return the figures of one side.

    Args:
      bandwidths: the memory's bytes per second, read after each repeat of a decoding on a CPU;
        empty for an accelerator, whose bandwidth is published.
    """
    match measured.workload.what:
        case "train":
            figures = _computing(measured, "step_s", measured.part("step"))
        case "prefill":
            figures = _computing(measured, "first_token_s", measured.part("first"))
        case "decode":
            figures = _drawing(measured, bandwidths)
        case "input":
            return {
                f"{way}_tokens_per_s": _speed("tokens/s", 1e6, measured.part(way))
                for way in ("cut", "packed")
            }
        case "startup":
            return {name: _time(measured.part(name)) for name in measured.seconds[0]}
    call_s = next(iter(figures.values())).spread.median
    compile_s = max(0.0, measured.first_s - call_s)
    return figures | {
        "compile_s": Figure("s", "lower", (compile_s,)),
        "peak_bytes": Figure("bytes", "lower", (measured.peak_bytes,)),
    }


def _computing(measured: Measured, name: str, seconds: tuple[float, ...]) -> Figures:
    workload, kind = measured.workload, measured.device["device_kind"]
    flops = _speed("FLOP/s", workload.flops, seconds)
    figures = {
        name: _time(seconds),
        "tokens_per_s": _speed("tokens/s", workload.tokens, seconds),
        "flops_per_s": flops,
    }
    chip = chip_of(kind)
    if chip is not None and workload.experiment.execution.dtype == "bfloat16":
        peak = chip.flops_per_s * measured.device["num_devices"]
        figures["mfu"] = _scaled(flops, 1 / peak)
    return figures


def _drawing(measured: Measured, bandwidths: list[float]) -> Figures:
    """Return the figures of the whole call, and those of the loop after the first token."""
    workload, call_s = measured.workload, measured.part("call")
    figures = {
        "call_s": _time(call_s),
        "tokens_per_s": _speed("tokens/s", workload.tokens, call_s),
    }
    first_s = min(measured.part("first"))
    if min(call_s) <= first_s:
        return figures  # the loop is too short to be timed
    loop_s, steps = tuple(call - first_s for call in call_s), workload.new_tokens - 1
    figures["loop_tokens_per_s"] = _speed("tokens/s", steps * workload.decode_batch, loop_s)
    read = _speed("bytes/s", steps * workload.bytes_per_drawn_token, loop_s)
    chip = chip_of(measured.device["device_kind"])
    if isinstance(chip, PlannableChip):
        figures["bandwidth_share"] = _scaled(read, 1 / chip.hbm_bytes_per_s)
    elif bandwidths:
        shares = [value / rate for value, rate in zip(read.values, bandwidths, strict=True)]
        figures["bandwidth_share"] = Figure("share", "higher", tuple(shares))
    return figures


def _time(seconds: tuple[float, ...]) -> Figure:
    return Figure("s", "lower", seconds)


def _speed(unit: str, amount: float, seconds: tuple[float, ...]) -> Figure:
    return Figure(unit, "higher", tuple(amount / each for each in seconds))


def _scaled(figure: Figure, factor: float) -> Figure:
    return Figure("share", "higher", tuple(factor * value for value in figure.values))
