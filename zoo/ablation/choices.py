"""The choices in which two runs differ, each of which can be taken from one into the other."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import assert_never

from configs.experiment import Experiment
from configs.parts.optimizers import (
    InverseSquareRoot,
    Schedule,
    WarmupCosine,
    WarmupCosineInTokens,
    WarmupInverseSquareRoot,
    WarmupLinear,
)
from models.config import ConfigError, ModelConfig
from models.parameters import num_up_matrices
from zoo.explaining.choices import choices as model_choices

D_FF_STEP = 8
"""Feed-forward widths are multiples of this."""


@dataclass(frozen=True)
class Axis:
    """One choice that a paper makes, of the model or of its training."""

    take: Callable[[Experiment, Experiment], Experiment]
    """Return the first run with the second one's choice."""
    words: Callable[[Experiment], str]
    """Return a run's choice in a few words."""


def taken(run: Experiment, other: Experiment, axis: str) -> Experiment:
    """Return `run` with the choice of `other` on this axis."""
    return AXES[axis].take(run, other)


def differing(start: Experiment, end: Experiment) -> list[str]:
    """Return the axes on which the two runs differ, in the order of AXES."""
    return [axis for axis in AXES if _differs(start, end, axis)]


def _differs(start: Experiment, end: Experiment, axis: str) -> bool:
    try:
        return taken(start, end, axis) != start
    except ConfigError:  # the choice does not fit the start's shape
        return True


def words(run: Experiment, axis: str) -> str:
    """Return the run's choice on this axis in a few words."""
    return AXES[axis].words(run)


def with_peak(schedule: Schedule, peak_lr: float) -> Schedule:
    """Return the schedule with another peak; its other rates keep their ratio to it."""
    if isinstance(schedule, WarmupCosine):
        initial_lr = schedule.initial_lr / schedule.peak_lr * peak_lr
        return replace(schedule, initial_lr=initial_lr, peak_lr=peak_lr)
    return replace(schedule, peak_lr=peak_lr)


def _field(*names: str) -> Callable[[Experiment, Experiment], Experiment]:
    """Return a function that takes fields of the model."""

    def take(run: Experiment, other: Experiment) -> Experiment:
        values = {name: getattr(other.model, name) for name in names}
        return replace(run, model=replace(run.model, **values))

    return take


def _norm(run: Experiment, other: Experiment) -> Experiment:
    """Take the norm with its bias."""
    biases = _biases_of_layers(run.model)
    biases += tuple(each for each in other.model.biases if each == "norm")
    return replace(run, model=replace(run.model, norm=other.model.norm, biases=_sorted(biases)))


def _biases(run: Experiment, other: Experiment) -> Experiment:
    """Take all biases but that of the norm."""
    biases = _biases_of_layers(other.model)
    biases += tuple(each for each in run.model.biases if each == "norm")
    return replace(run, model=replace(run.model, biases=_sorted(biases)))


def _biases_of_layers(model: ModelConfig) -> tuple:
    return tuple(each for each in model.biases if each != "norm")


def _sorted(biases: tuple) -> tuple:
    order = ("qkv", "attention_output", "feed_forward", "norm", "logits")
    return tuple(sorted(biases, key=order.index))


def _kv_heads(run: Experiment, other: Experiment) -> Experiment:
    """Take the number of query heads that share a key and value head."""
    mine, theirs = run.model.attention, other.model.attention
    shared = theirs.num_heads // theirs.num_kv_heads
    shared = mine.num_heads if theirs.num_kv_heads == 1 else shared
    attention = replace(mine, num_kv_heads=max(1, mine.num_heads // shared))
    return replace(run, model=replace(run.model, attention=attention))


def _windows(run: Experiment, other: Experiment) -> Experiment:
    attention = replace(run.model.attention, windows=other.model.attention.windows)
    return replace(run, model=replace(run.model, attention=attention))


def _feed_forward(run: Experiment, other: Experiment) -> Experiment:
    """Take the kind, with about as many entries in all matrices as before."""
    mine, kind = run.model.feed_forward, other.model.feed_forward.kind
    ratio = (num_up_matrices(mine.kind) + 1) / (num_up_matrices(kind) + 1)
    d_ff = mine.d_ff if ratio == 1 else D_FF_STEP * max(1, round(mine.d_ff * ratio / D_FF_STEP))
    return replace(run, model=replace(run.model, feed_forward=replace(mine, kind=kind, d_ff=d_ff)))


def _dropout(run: Experiment, other: Experiment) -> Experiment:
    if other.model.dropout_rate == run.model.dropout_rate == 0:
        return run
    return _field("dropout_rate", "embedding_dropout")(run, other)


def _optimizer(run: Experiment, other: Experiment) -> Experiment:
    """Take the optimizer with its peak, which suits no other one; the schedule's form stays."""
    peak_lr = other.optimizer.schedule.peak_lr
    schedule = with_peak(run.optimizer.schedule, peak_lr)
    if replace(other.optimizer, schedule=schedule) == replace(run.optimizer, schedule=schedule):
        return run
    return replace(run, optimizer=replace(other.optimizer, schedule=schedule))


def _schedule(run: Experiment, other: Experiment) -> Experiment:
    """Take the form of the schedule, with the peak of before."""
    schedule = with_peak(other.optimizer.schedule, run.optimizer.schedule.peak_lr)
    return replace(run, optimizer=replace(run.optimizer, schedule=schedule))


def _model_words(field: str) -> Callable[[Experiment], str]:
    """Return a function that names the model's choice in this field."""

    def words(run: Experiment) -> str:
        named = {each.explanation.axis: each.name for each in model_choices(run.model)}
        return named[f"model.{field}"]

    return words


def _optimizer_words(run: Experiment) -> str:
    o = run.optimizer
    numbers = {
        "beta1": o.beta1,
        "beta2": getattr(o, "beta2", None),
        "decay": getattr(o, "weight_decay", None),
        "clip": o.clip_norm,
    }
    told = ", ".join(f"{name} {value:g}" for name, value in numbers.items() if value is not None)
    return f"{type(o).__name__} ({told})"


def _schedule_words(run: Experiment) -> str:
    """Return the form of the schedule: its corners in shares of the peak and of the run."""
    schedule, run_tokens = run.optimizer.schedule, run.num_tokens
    match schedule:
        case InverseSquareRoot(constant_steps=steps):
            return f"constant for {steps} steps, then 1/sqrt(step)"
        case WarmupCosine(initial_lr=initial, peak_lr=peak, warmup_steps=warmup):
            start = f"{initial / peak:.2g}" if initial else "0"
            end = (schedule.decay_steps or run.num_steps) / run.num_steps
            warmed = f"{warmup} steps"
        case WarmupLinear(warmup_steps=warmup):
            return f"from 0 over {warmup} steps, a line to 0 at the end of the run"
        case WarmupInverseSquareRoot(warmup_steps=warmup):
            return f"from 0 over {warmup} steps, then 1/sqrt(step)"
        case WarmupCosineInTokens(warmup_tokens=warmup):
            start, warmed = "0", f"{warmup:,.0f} tokens"
            end = (schedule.decay_tokens or run_tokens) / run_tokens
        case _:
            assert_never(schedule)
    low = f"{schedule.final_fraction:g} of the peak at {end:.3g} of the run"
    return f"from {start} of the peak over {warmed}, cosine to {low}"


AXES: dict[str, Axis] = {
    "position": Axis(_field("position"), _model_words("position")),
    "layout": Axis(_field("layout"), _model_words("layout")),
    "norm": Axis(_norm, _model_words("norm")),
    "kv_heads": Axis(_kv_heads, _model_words("attention")),
    "windows": Axis(_windows, _model_words("attention.windows")),
    "feed_forward": Axis(_feed_forward, _model_words("feed_forward")),
    "biases": Axis(_biases, lambda run: ", ".join(_biases_of_layers(run.model)) or "no biases"),
    "tied_embeddings": Axis(_field("tie_embeddings"), _model_words("tie_embeddings")),
    "logit_scale": Axis(_field("logit_scale"), _model_words("logit_scale")),
    "dropout": Axis(_dropout, _model_words("dropout_rate")),
    "init": Axis(_field("init"), _model_words("init")),
    "optimizer": Axis(_optimizer, _optimizer_words),
    "schedule": Axis(_schedule, _schedule_words),
    "z_loss": Axis(
        lambda run, other: replace(run, z_loss=other.z_loss), lambda run: f"z-loss {run.z_loss:g}"
    ),
}
"""All choices, in the order in which a path takes them: first the model's, then the recipe's."""
