"""Each value of a run's config with its source: the paper, the zoo's choice, or this run."""

from dataclasses import dataclass
from typing import Any

import configs
from zoo.common.serialize import leaves, to_json
from zoo.reporting.recorded_run import RecordedRun

_SETTINGS = ("mesh", "execution", "data")
"""Parts of a config that belong to a machine or a text, and to no paper."""


@dataclass(frozen=True)
class ConfigValue:
    """One value of a config."""

    path: str
    """Dotted, such as `optimizer.schedule.peak_lr`."""
    value: Any
    source: str
    """The reason for this value, in words."""
    is_changed: bool = False
    """True if it differs from the config of the model that the run is named after."""


def config_values(run: RecordedRun) -> list[ConfigValue]:
    """Return all values of the run's config in their order."""
    base = run.base
    if base is None:
        return [ConfigValue(path, value, "") for path, value in leaves(run.config)]
    family = configs.module_of(configs.family_of(base))
    paper = family.PAPER.of_model(base)
    default = dict(leaves(to_json(configs.get(base))))
    published = [dict(leaves(to_json(experiment))) for experiment in family.PUBLISHED.values()]

    def value_at(path: str, value: Any) -> ConfigValue:
        if value != default.get(path) == "auto":
            return ConfigValue(path, value, "auto: chosen for the devices of this run")
        if value != default.get(path):
            was = show_value(default.get(path))
            return ConfigValue(path, value, f"this run; {base} has {was}", is_changed=True)
        return ConfigValue(path, value, source(path, value))

    def source(path: str, value: Any) -> str:
        note = paper.note(path)
        if note is None:
            return "setting of the run" if path.split(".")[0] in _SETTINGS else "the zoo's default"
        if note.origin == "zoo":
            return f"the zoo's choice, not published: {note.text}"
        if any(sizes.get(path) == value for sizes in published):
            return f"{paper.family}: {note.text}"
        change = "unlike" if isinstance(value, bool | str | None) else "scaled down from"
        return f"{change} the paper's: {note.text}"

    return [value_at(path, value) for path, value in leaves(run.config)]


def show_value(value: Any) -> str:
    """Return a JSON value for a person: 8,192, 0.01, none, on."""
    match value:
        case None:
            return "none"
        case bool():
            return "on" if value else "off"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,g}"
        case list():
            return ", ".join(map(show_value, value)) or "none"
        case dict():
            inner = ", ".join(f"{k}={show_value(v)}" for k, v in value.items() if k != "type")
            return f"{value.get('type', '')}({inner})"
        case _:
            return str(value)
