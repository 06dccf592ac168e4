"""The page of one run, report.html: a function of the files in its workdir."""

import shlex
from collections.abc import Iterator
from typing import Any

import configs
from configs.parts.objectives import loss_unit
from zoo.common.html import Html, element, table
from zoo.reporting.config_sources import ConfigValue, config_values, show_value
from zoo.reporting.curves import panels
from zoo.reporting.history import MAX_POINTS
from zoo.reporting.markup import Reload, Section, Update, figure, page, section, sections, tiles
from zoo.reporting.recorded_run import BITS_PER_BYTE, TOKENS, RecordedRun

REPORT_FILE = "report.html"
MAX_SAMPLES = 24
"""Samples on a page; of more, some are left out, evenly."""


def run_page(run: RecordedRun, *, live: Reload | Update | None = None) -> str:
    """Return the page of the run as HTML.

    Args:
      live: the way in which an open page follows the run; None: the run has ended.
    """
    return page(
        f"{run.record.name}: {run.status}"[:80],
        element("h1", run.record.name),
        element("p", _subtitle(run), class_="muted"),
        element("p", _status(run)),
        _tiles(run),
        sections(
            _curves(run),
            _samples(run),
            _events(run),
            _repeat(run),
            _config(run),
            _data(run),
            _machine(run),
        ),
        live=live,
    )


def duration(seconds: float) -> str:
    """Return 45 s, 12 min, 3 h 05 min or 12 d 4 h."""
    minutes, hours = round(seconds / 60), round(seconds / 3600)
    if seconds < 90:
        return f"{seconds:.0f} s"
    if minutes < 90:
        return f"{minutes} min"
    if hours < 48:
        return f"{minutes // 60} h {minutes % 60:02} min"
    return f"{hours // 24} d {hours % 24} h"


def _subtitle(run: RecordedRun) -> str:
    if run.base is None:
        return f"workdir {run.workdir}"
    paper = configs.module_of(configs.family_of(run.base)).PAPER
    return f"after {paper.title}, {paper.authors}, {paper.reference} · workdir {run.workdir}"


def _status(run: RecordedRun) -> Html:
    written = f"written {_time(run.record.starts[-1].updated_at)} UTC" if run.record.starts else ""
    good = run.is_finished or run.is_running
    status = element("strong", run.status, class_="good" if good else "bad")
    of = "" if run.num_steps is None else f" of {run.num_steps:,}"
    return element("span", status, f" · step {run.history.step:,}{of} · {written}".rstrip(" ·"))


def _tiles(run: RecordedRun) -> Html:
    history = run.history
    unit = "nats per token" if run.experiment is None else loss_unit(run.experiment.objective)

    def items() -> Iterator[tuple[str, str, str]]:
        bits, best = history.last(BITS_PER_BYTE), history.best(BITS_PER_BYTE)
        if bits is not None and best is not None:
            remark = f"best {best[1]:.4f} at step {best[0]:,}"
            yield "bits per byte, validation", f"{bits:.4f}", remark
            beaten = [name for name, level in run.record.baselines.items() if bits < level]
            others = [name for name in run.record.baselines if name not in beaten]
            if run.record.baselines:
                words = f"beats {' and '.join(beaten)}" if beaten else "beats none yet"
                rest = f"not {' and '.join(others)}" if beaten and others else ""
                levels = ", ".join(f"{n} {v:.3f}" for n, v in run.record.baselines.items())
                yield "compressors", f"{words}{', ' * bool(rest)}{rest}", levels
        if (loss := history.last("eval/loss")) is not None:
            yield "validation loss", f"{loss:.4f}", unit
        if (loss := history.last("train/loss")) is not None:
            yield "training loss", f"{loss:.4f}", f"{unit}, newest"
        if run.num_params is not None:
            yield "parameters", short(run.num_params), f"{run.num_params:,}"
        if (tokens := history.last(TOKENS)) is not None:
            per = f", {tokens / run.num_params:,.3g} per parameter" if run.num_params else ""
            yield "tokens", short(tokens), f"seen so far{per}"
        if (speed := history.median("perf/tokens_per_s")) is not None:
            yield "tokens per second", short(speed), "median"
        if run.record.starts:
            starts = len(run.record.starts)
            remark = "one process" if starts == 1 else f"{starts} processes, one after the other"
            yield "wall time", duration(run.record.wall_s), remark

    return tiles(items())


def short(number: float) -> str:
    """Return a number in at most four characters and a unit: 46.2k, 1.31M, 540B."""
    for factor, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= factor:
            return f"{number / factor:.3g}{unit}"
    return f"{number:.3g}"


def _curves(run: RecordedRun) -> Section:
    main, more = panels(run)
    if not main and not more:
        return section("Curves", element("p", "No metrics have been written yet.", class_="muted"))
    thinned = run.history.steps_per_point
    note = "Thick lines are means over one fiftieth of the run."
    if thinned > 1:
        note += (
            f" Of a curve with more than {MAX_POINTS:,} values, {thinned:,} steps each are one "
            "point: their mean, with their range as a pale band, in which a spike of one step "
            "still shows."
        )
    if any(panel.marks for panel in main):
        note += " Dotted red lines are steps that diverged; see the events."
    children = [
        element("p", note, class_="muted"),
        element("div", *map(figure, main), class_="charts"),
    ]
    if more:
        charts = element("div", *map(figure, more), class_="charts")
        summary = element("summary", f"{len(more)} more")
        children.append(element("details", summary, charts, id="more-curves"))
    return section("Curves", *children)


def _samples(run: RecordedRun) -> Section:
    samples = run.samples()
    if not samples:
        return section("Samples", element("p", "None has been written yet.", class_="muted"))
    shown = samples
    if len(samples) > MAX_SAMPLES:
        places = [round(i * (len(samples) - 1) / (MAX_SAMPLES - 1)) for i in range(MAX_SAMPLES)]
        shown = [samples[place] for place in places]
    newest_step, newest = shown[-1]
    older = [
        element(
            "details", element("summary", f"step {step:,}"), element("pre", text), id=f"s{step}"
        )
        for step, text in reversed(shown[:-1])
    ]
    count = f"{len(shown)} of {len(samples)} samples. " if len(shown) < len(samples) else ""
    return section(
        "Samples",
        element("p", f"{count}The opening is from held-out text.", class_="muted"),
        element("h3", f"step {newest_step:,}, the newest"),
        element("pre", newest),
        *older,
    )


def _config(run: RecordedRun) -> Section:
    values = config_values(run)
    changed = sum(value.is_changed for value in values)
    if run.base is None:
        note = "No model of the zoo has this run's name, so the values have no sources here."
    elif changed:
        note = (
            f"One value differs from that of {run.base}."
            if changed == 1
            else f"{changed} values differ from those of {run.base}."
        )
    else:
        note = f"Every value is that of {run.base}."
    groups: dict[str, list[list[Any]]] = {}
    for value in values:
        top, _, rest = value.path.partition(".")
        is_group = isinstance(run.config.get(top), dict)
        row = _row(value, rest or top)
        groups.setdefault(top if is_group else "run", []).append(row)
    parts: list[Html] = [element("p", note, class_="muted")]
    if changed:
        parts.append(_values([_row(v, v.path) for v in values if v.is_changed]))
    for group, rows in groups.items():
        summary = element("summary", f"{group}: {len(rows)} values")
        parts.append(element("details", summary, _values(rows), id=f"config-{group}"))
    return section("Config", *parts)


def _row(value: ConfigValue, name: str) -> list[Any]:
    text = show_value(value.value)
    return [name, element("mark", text) if value.is_changed else text, value.source]


def _values(rows: list[list[Any]]) -> Html:
    if not any(source for _, _, source in rows):
        return table(["key", "value"], [row[:2] for row in rows], class_="config")
    return table(["key", "value", "source"], rows, class_="config")


def _data(run: RecordedRun) -> Section:
    rows: list[tuple[str, Any]] = list(run.record.data_fingerprint.items())
    rows += [
        (name, f"{run.history.last(name):,.6g}")
        for name in sorted(run.history.curves)
        if name.startswith("data/")
    ]
    note = "Two runs with the same fingerprint read the same text in the same order."
    return section(
        "Data", element("p", note, class_="muted"), table(["key", "value"], rows, class_="config")
    )


def _events(run: RecordedRun) -> Section:
    events = run.events
    told = {f"step {event.get('step')}: {event.get('message')}" for event in events}
    rows: list[tuple[str, str, str]] = []
    for number, start in enumerate(run.record.starts):
        verb = "started" if number == 0 else f"resumed from step {start.first_step:,}"
        where = f"{verb} on {start.host}, {start.devices}"
        rows.append((f"{start.first_step:,}", _time(start.started_at), where))
        rows += [("", "", f"warning: {text}") for text in start.warnings if text not in told]
        is_last = number == len(run.record.starts) - 1
        outcome = start.outcome or ("" if is_last and run.is_running else "killed: no message")
        if outcome:
            rows.append(("", _time(start.updated_at), outcome))
    parts = [table(["step", "time (UTC)", "event"], rows, class_="events")]
    if events:
        diverged = [
            (_step(event), str(event.get("kind", "")), str(event.get("message", "")))
            for event in events
        ]
        parts += [element("h3", "Steps that diverged")]
        parts += [table(["step", "kind", "message"], diverged, class_="events")]
    return section("Events", *parts)


def _machine(run: RecordedRun) -> Section:
    if not run.record.starts:
        return section("Versions and hardware", element("p", "Not recorded.", class_="muted"))
    start = run.record.starts[-1]
    rows = [("devices", start.devices), ("attention", start.attention or "not recorded")]
    rows += [("machine", start.machine), ("host", start.host)]
    return section("Versions and hardware", table(["", ""], [*rows, *start.versions.items()]))


def _repeat(run: RecordedRun) -> Section:
    flags = run.record.starts[-1].flags if run.record.starts else None
    if flags is not None:
        command = f"python -m zoo.train {shlex.join(_repeating(flags, run.record.name))}"
        note = "The same text, seed and number of devices give the same losses to the bit."
        earlier = [_repeating(s.flags, run.record.name) for s in run.record.starts[:-1] if s.flags]
        if any(other != _repeating(flags, run.record.name) for other in earlier):
            note = (
                "The run was resumed with other flags, which Events lists: this command alone does "
                "not repeat it to the bit."
            )
    else:
        note = "A program trained this run; this one repeats it from the folder's config.json."
        command = (
            "import json\nfrom pathlib import Path\n\nfrom zoo.common.serialize import from_json\n"
            "from zoo.train import train\n\n"
            f"config = json.loads(Path({str(run.workdir / 'config.json')!r}).read_text())\n"
            f"train(from_json(config), {f'runs/{run.record.name}_again'!r})"
        )
    return section(
        "The command that repeats it", element("pre", command), element("p", note, class_="muted")
    )


def _repeating(flags: list[str], name: str) -> list[str]:
    """Return the flags with a new workdir and without those that concern the output."""
    kept, value_follows = [], False
    for flag in flags:
        key, has_value, _ = flag.replace("_", "-").partition("=")
        with_value = key in ("--workdir", "--max-hours", "--track")
        if not (value_follows or with_value or key in ("--fresh", "--json")):
            kept.append(flag)
        value_follows = with_value and not has_value
    return [*kept, f"--workdir=runs/{name}_again"]


def _time(text: str) -> str:
    return text.replace("T", " ").removesuffix("+00:00")


def _step(event: dict[str, Any]) -> str:
    step = event.get("step")
    return f"{step:,}" if isinstance(step, int) else ""
