"""A study as tables, as Markdown and as one self-contained page."""

from collections.abc import Iterator, Sequence

import numpy as np

from configs.studies.study import Design
from zoo.ablation.choices import words
from zoo.ablation.designs import Contrast, Variant, contrasts, variants_of
from zoo.ablation.findings import Findings, VariantResult, num_effects
from zoo.ablation.forest import Row, forest
from zoo.ablation.statistics import CONFIDENCE, POWER, SIZES, Effect, Interval
from zoo.ablation.study import Study
from zoo.common.html import Html, element
from zoo.explaining.tables import Table, count, markdown
from zoo.reporting.markup import figure, page, section, sections, table_section
from zoo.reporting.markup import tiles as main_numbers
from zoo.reporting.plots import Line, Panel

BITS = "bits per byte"
NOISE = "not distinguishable from noise"
TITLES: dict[Design, str] = {
    "from_start": "One choice of the end at the start",
    "from_end": "One choice of the end, taken back from it",
    "path": "The choices one after the other",
    "factorial": "Each choice in half of the runs",
}
MEANINGS: dict[Design, str] = {
    "from_start": "The start with this choice of the end, less the start.",
    "from_end": "The end, less the end with this choice of the start.",
    "path": "The start with this choice and all above it, less the start with those above it.",
    "factorial": "The mean of the runs with the choice, less the mean of those without it. `a x b` "
    "is the effect of a with b, less its effect without b. Effects with `=` between them have the "
    "same runs and cannot be told apart; three choices together are taken to add nothing.",
}


def tables(findings: Findings) -> list[Table]:
    """Return all tables of a study."""
    found = [_choices(findings), _variants(findings), _noise(findings)]
    found += [_effects(findings, design) for design in findings.effects]
    return [*found, _sweeps(findings)]


def _choices(findings: Findings) -> Table:
    return choices_table(findings.study)


def choices_table(s: Study) -> Table:
    """Return the choices of a study, and what its variants share."""
    rows = [[c, words(s.made.start, c), words(s.made.end, c)] for c in s.choices]
    left = [c for c in s.made.differing if c not in s.choices]
    start, settings = s.made.start, s.settings
    held = (
        f"The same in all variants: {settings.source.setting}, the vocabulary of "
        f"{settings.vocab_size:,} tokens in the style of {start.data.vocabulary_style}, packing "
        f"({start.data.packing}), sequences of {settings.seq_len:,} tokens, batches of "
        f"{settings.batch_tokens:,} tokens of one size, {start.num_tokens:,} tokens in all, and "
        f"the start's shape: {start.model.num_layers} layers of width {start.model.d_model} with "
        f"{start.model.attention.num_heads} heads."
    )
    notes = [held]
    if left:
        notes.append(f"Not studied, as in the start: {', '.join(left)}.")
    head = ("choice", settings.start, settings.end)
    return Table("Choices", head, rows, notes, has_numbers=False)


def _variants(findings: Findings) -> Table:
    by_variant = {each.variant: each for each in findings.variants}
    start = by_variant.get(frozenset())
    rows = [_variant_row(each, start) for each in findings.variants]
    settings = findings.study.settings
    equal = {
        "flops": "The feed-forward width d_ff holds the start's training FLOPs within 1 %.",
        "params": "The feed-forward width d_ff holds the start's parameters within 1 %.",
        "tokens": "Only the tokens are equal.",
    }[settings.equal]
    missing = len(findings.study.variants) - len(findings.variants)
    explained = (
        f"{settings.seeds} seeds of each variant; a seed sets the order of the text, the same in "
        f"all variants, and draws the initial parameters. {equal} FLOPs are those of all matrix "
        "products per training token; the KV cache is in bfloat16."
    )
    notes = [explained]
    if missing:
        notes.append(f"Variants that are not finished: {missing}.")
    if not all(each.is_bracketed for each in findings.variants):
        notes.append("A peak with * is the lowest or highest of its sweep: it may not be the best.")
    head = (
        "variant", BITS, "less the start", "peak rate", "d_ff", "parameters", "FLOPs",
        "cache bytes", "tokens/s",
    )  # fmt: skip
    return Table("Variants", head, rows, notes)


def _variant_row(each: VariantResult, start: VariantResult | None) -> list[str]:
    mean, base = each.mean, None if start is None else start.mean
    return [
        each.name,
        "diverged" if mean is None else f"{mean:.4f}",
        "-" if mean is None or base is None else f"{mean - base:+.4f}",
        f"{each.peak_lr:.3g}{'' if each.is_bracketed else '*'}",
        f"{each.d_ff:,}",
        f"{each.num_params:,}",
        count(each.flops_per_token),
        f"{each.cache_bytes_per_token:,.0f}",
        "-" if each.tokens_per_s is None else f"{each.tokens_per_s:,.0f}",
    ]


def _noise(findings: Findings) -> Table:
    base = findings.base_std()
    if not findings.noise:
        return Table("The noise floor", (), (), ["No variant is finished whose runs all trained."])
    needed = {design: findings.seeds_needed(design) for design in findings.noise}
    rows = [
        [
            f"{size:g}",
            *("more than 1,000" if n[size] is None else str(n[size]) for n in needed.values()),
        ]
        for size in SIZES
    ]
    meaning = (
        "The table says how many seeds a difference between two variants of a design needs to be "
        f"found with probability {POWER:.0%}, if {num_effects(findings.study)} effects are looked "
        "at. The noise of a design is that of its own variants: what is left of their scores once "
        "the mean of each variant and of each seed is subtracted."
    )
    notes = [meaning]
    if base is not None:
        notes.append(f"The start's own scores spread by {base:.4f} {BITS}.")
    for design, noise in findings.noise.items():
        degrees = f"{noise.degrees} degree{'s' * (noise.degrees > 1)} of freedom"
        notes.append(f"{design}: a standard deviation of {noise.std:.4f} {BITS}, {degrees}.")
        if noise.is_unequal:
            notes.append(
                f"The spread is not the same in all variants of {design} (Bartlett's test: "
                f"p = {noise.unequal:.2g}). Intervals by their common noise are then too narrow "
                "for some and too wide for others; look at the effect's own interval (t) too."
            )
    head = (f"difference in {BITS}", *(f"seeds, {design}" for design in needed))
    return Table("The noise floor", head, rows, notes)


def _effects(findings: Findings, design: Design) -> Table:
    rows = findings.effects[design]
    cells = [_effect_row(contrast, effect) for contrast, effect in rows]
    comparisons = num_effects(findings.study)
    num_left = len(contrasts(design, findings.study.choices)) - len(rows)
    note = (
        f"{MEANINGS[design]} In {BITS}: below zero is better. The interval holds all "
        f"{comparisons} effects of the study together with probability {CONFIDENCE:.0%} "
        "(Student's t, the noise of the design's variants, Bonferroni), and p is corrected in the "
        "same way. `visible from` is the effect that would have been found with probability "
        f"{POWER:.0%}. The last two intervals hold each effect alone, by its own differences (t) "
        "and by resampling the seeds (bootstrap), which says little with few of them."
    )
    head = ("choice", "effect", "verdict", "interval", "p", "visible from", "t", "bootstrap")
    notes = [note]
    if num_left:
        notes.append(f"Effects that are not finished: {num_left}.")
    return Table(TITLES[design], head, cells, notes)


def _effect_row(contrast: Contrast, effect: Effect | None) -> list[str]:
    name = " = ".join([contrast.name, *contrast.aliases])
    if effect is None:
        return [name, "-", "a run diverged", "-", "-", "-", "-", "-"]
    return [
        name,
        f"{effect.mean:+.4f}",
        verdict(effect),
        _interval(effect.interval),
        f"{effect.p_value:.2g}",
        f"{effect.smallest_visible:.4f}",
        _interval(effect.own_interval),
        _interval(effect.bootstrap),
    ]


def verdict(effect: Effect) -> str:
    """Return the effect in words."""
    if effect.is_noise:
        return NOISE
    return "better" if effect.mean < 0 else "worse"


def _interval(interval: Interval) -> str:
    return "-" if not np.isfinite(interval).all() else f"{interval[0]:+.4f} to {interval[1]:+.4f}"


def _sweeps(findings: Findings) -> Table:
    s = findings.study
    rows = []
    for variant in s.variants:
        tried = {run.peak_lr: run.trained.bits_per_byte for run in s.runs_of_sweep(variant)}
        cells = (
            f"{peak:.3g}: " + ("diverged" if bits is None else f"{bits:.4f}")
            for peak, bits in sorted(tried.items())
        )
        rows.append([s.label(variant), "; ".join(cells) or "not yet"])
    note = (
        f"{BITS} at each peak, with one seed that is not used again. The best peak trains the "
        "seeds above. That it was picked with one seed, from a grid of factor 2, is in no interval."
    )
    head = ("variant", "peaks")
    return Table("Sweeps of the learning rate", head, rows, [note], has_numbers=False)


def study_markdown(findings: Findings, command: str) -> str:
    """Return the study in Markdown."""
    parts = [f"# {_title(findings)}\n", f"```\n{command}\n```\n", f"{_machine(findings)}\n"]
    parts += [f"![{TITLES[design]}]({design}.svg)\n" for design in findings.effects]
    return "\n".join([*parts, *(markdown(each) for each in tables(findings))])


def study_page(findings: Findings, command: str) -> str:
    """Return the page as HTML."""
    forests = [
        element("figure", element("figcaption", TITLES[design]), Html(drawing))
        for design, drawing in forests_of(findings).items()
    ]
    curves = [figure(panel) for panel in panels(findings)]
    parts = [
        section("Effects", element("div", *forests, class_="charts")),
        *map(table_section, tables(findings)),
        section("Curves", element("div", *curves, class_="charts")),
        section("Command", element("pre", command), element("p", _machine(findings))),
    ]
    title = _title(findings)
    return page(title, element("h1", title), main_numbers(_tiles(findings)), sections(*parts))


def _title(findings: Findings) -> str:
    settings = findings.study.settings
    return f"From {settings.start} to {settings.end}"


def _machine(findings: Findings) -> str:
    if not findings.study.runs:
        return "No run is finished."
    devices = dict.fromkeys(run.trained.device for run in findings.study.runs)
    hours = sum(run.trained.seconds for run in findings.study.runs) / 3600
    runs = len(findings.study.runs)
    return f"{runs} runs, {hours:.3g} hours together, on {' and '.join(devices)}."


def _tiles(findings: Findings) -> Iterator[tuple[str, str, str]]:
    yield "variants", str(len(findings.variants)), f"of {len(findings.study.variants)}"
    for name in ("start", "end"):
        for each in findings.variants:
            if each.name == name:
                mean = "diverged" if each.mean is None else f"{each.mean:.3f}"
                yield f"{BITS} at the {name}", mean, f"{each.num_params:,} parameters"
    for design, noise in findings.noise.items():
        yield f"noise, {design}", f"{noise.std:.4f}", "standard deviation of a score"


def forests_of(findings: Findings) -> dict[Design, str]:
    """Return the forest plot of each design of which an effect is finished."""
    drawn: dict[Design, str] = {}
    for design, rows in findings.effects.items():
        shown = [
            Row(c.name + (" = ..." if c.aliases else ""), e.mean, e.interval, e.is_noise)
            for c, e in rows
            if e is not None
        ]
        label = f"change of {BITS}: better on the left"
        drawn[design] = forest(TITLES[design], label, shown)
    return drawn


def panels(findings: Findings) -> list[Panel]:
    """Return the learning curves and the sweeps, with the variants of one design in a panel."""
    found = []
    for design in findings.study.settings.designs:
        shown = variants_of(design, findings.study.choices)
        found += [_curves(findings, design, shown), _sweep_panel(findings, design, shown)]
    return found


def _curves(findings: Findings, design: Design, shown: Sequence[Variant]) -> Panel:
    by_variant, lines = {each.variant: each for each in findings.variants}, []
    for style, variant in enumerate(shown):
        runs = by_variant[variant].runs if variant in by_variant else ()
        curves = [np.array(run.trained.curve) for run in runs if run.trained.curve]
        shortest = min(map(len, curves), default=0)
        if shortest:
            steps, losses = np.mean([curve[:shortest] for curve in curves], axis=0).T
            lines.append(Line(findings.study.label(variant), steps, losses, style=style))
    title = f"{TITLES[design]}: training loss"
    return Panel(title, "step", "nats per token, mean of the seeds", lines, shows="end")


def _sweep_panel(findings: Findings, design: Design, shown: Sequence[Variant]) -> Panel:
    s, lines = findings.study, []
    for style, variant in enumerate(shown):
        runs = sorted(s.runs_of_sweep(variant), key=lambda run: run.peak_lr)
        found = [(r.peak_lr, b) for r in runs if (b := r.trained.bits_per_byte) is not None]
        if found:
            peaks, bits = np.array(found).T
            lines.append(Line(s.label(variant), peaks, bits, style=style))
    title = f"{TITLES[design]}: sweeps"
    return Panel(title, "peak learning rate", BITS, lines, scales=("log", "linear"))
