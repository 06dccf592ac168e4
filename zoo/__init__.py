"""Train, checkpoint, load and sample the models in `configs/`.

>>> import zoo
>>> model = zoo.load("runs/palm_small")
>>> print(model.sample(["def "], max_tokens=50, sampling=zoo.Sampling(temperature=0.8))[0])
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zoo.inference.decode import Sampling
    from zoo.planning.placement import load

__all__ = ["Sampling", "load"]


def __getattr__(name: str):
    # Lazy, so that `python -m zoo.train --help` does not import JAX.
    if name == "load":
        from zoo.planning.placement import load

        return load
    if name == "Sampling":
        from zoo.inference.decode import Sampling

        return Sampling
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
