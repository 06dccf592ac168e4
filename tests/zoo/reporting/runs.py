"""Workdirs as a run leaves them, made without training."""

import json
from pathlib import Path
from typing import Any

import configs
from zoo.common.serialize import to_json
from zoo.reporting.record import RunRecord, Start


def write_rows(workdir: Path, rows: list[dict[str, Any]]) -> None:
    """Append to metrics.jsonl."""
    with (workdir / "metrics.jsonl").open("a") as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows))


def row(step: int, **values: Any) -> dict[str, Any]:
    names = {"bits": "eval/bits_per_byte", "tokens": "data/tokens", "loss": "train/loss"}
    return {"step": step, **{names.get(key, key): value for key, value in values.items()}}


def make_run(
    workdir: Path, model: str = "palm_nano", *, num_steps: int = 4, outcome: str | None = "finished"
) -> Path:
    """A run of `model` with a row per step and an evaluation at each second one."""
    workdir.mkdir(parents=True)
    (workdir / "config.json").write_text(json.dumps(to_json(configs.get(model))))
    start = Start(0, [f"--model={model}", "--fresh"], "1 x cpu (cpu)", outcome=outcome)
    RunRecord(model, {"corpus": "c0", "vocabulary": "v0"}, {"xz -9": 1.8}, [start]).write(workdir)
    rows = []
    for step in range(1, num_steps + 1):
        rows.append(row(step, loss=8.0 / step, tokens=512 * step))
        if step % 2 == 0:
            rows[-1] |= {"eval/loss": 9.0 / step, "eval/bits_per_byte": 6.0 / step}
    write_rows(workdir, rows)
    (workdir / "samples").mkdir()
    (workdir / "samples" / f"{num_steps:06}.txt").write_text("<b>def</b> f():\n    pass\n")
    return workdir


def change_config(workdir: Path, key: str, value: Any) -> None:
    """Set the value at a dotted key of config.json."""
    path = workdir / "config.json"
    config = json.loads(path.read_text())
    *parents, name = key.split(".")
    inner = config
    for parent in parents:
        inner = inner[parent]
    inner[name] = value
    path.write_text(json.dumps(config))
