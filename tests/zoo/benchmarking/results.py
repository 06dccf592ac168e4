"""A result that nobody measured."""

import configs
from zoo.benchmarking.results import Result
from zoo.benchmarking.spread import Figure
from zoo.benchmarking.workload import Workload

WORKLOAD = Workload(
    what="train",
    experiment=configs.get("gpt2_nano"),
    sequences=2,
    decode_batch=1,
    prompt_tokens=8,
    new_tokens=4,
)


def result(*seconds: float, cores: int = 2) -> Result:
    return Result(
        model="gpt2_nano",
        workload=WORKLOAD,
        hardware={"device_kind": "cpu", "num_devices": 1, "processor": f"{cores} cores"},
        versions={"jax": "0.10.2"},
        commit="abc",
        repeats=len(seconds),
        figures={"step_s": Figure("s", "lower", seconds)},
        against=None,
        their_figures=None,
        bandwidths=(),
    )
