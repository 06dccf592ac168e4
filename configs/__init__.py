"""Every model of the zoo by name."""

import difflib

from configs import gpt2, palm
from models.config import ConfigError
from zoo.config import Experiment

FAMILIES = {"gpt2": gpt2, "palm": palm}

MODELS: dict[str, Experiment] = {
    name: experiment for family in FAMILIES.values() for name, experiment in family.FAMILY.items()
}


def get(name: str) -> Experiment:
    """The experiment called `name`; an unknown name is a ConfigError that offers the nearest."""
    if name in MODELS:
        return MODELS[name]
    near = difflib.get_close_matches(name, MODELS, n=3, cutoff=0.4) or list(MODELS)
    raise ConfigError(f"--model={name!r} is not in the zoo; did you mean {' or '.join(near)}? "
                      f"All of them: {', '.join(MODELS)}")  # fmt: skip
