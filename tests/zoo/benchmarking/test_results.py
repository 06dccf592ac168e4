"""The file of results, and the comparison of a result with its predecessor."""

import dataclasses
from pathlib import Path

import pytest

from data.errors import DataError
from tests.zoo.benchmarking.results import WORKLOAD, result
from zoo.benchmarking import tables
from zoo.benchmarking.results import ResultsFile
from zoo.common.errors import WorkdirError


def test_a_result_is_compared_with_the_newest_of_the_same_work_on_the_same_hardware(tmp_path):
    path = tmp_path / "new" / "results.jsonl"
    assert ResultsFile(path).change(result(1.0)) is None
    for each in (result(9.0), result(2.0, 2.0, 2.0), result(0.1, cores=64)):
        ResultsFile(path).append(each.to_json())
    change = ResultsFile(path).change(result(1.0, 1.0, 1.0))
    assert change is not None
    assert (change.figure, change.ratio, change.is_slowdown) == ("step_s", 2.0, False)
    assert change.since["versions"] == {"jax": "0.10.2"}
    assert len(path.read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("seconds", "is_slowdown"), [((3.0, 3.1, 3.2), True), ((1.9, 2.05, 3.0), False)]
)
def test_only_a_slowdown_beyond_the_spread_is_pointed_out(seconds, is_slowdown: bool, tmp_path):
    file = ResultsFile(tmp_path / "results.jsonl")
    file.append(result(1.9, 2.0, 2.1).to_json())
    change = file.change(result(*seconds))
    assert change is not None
    assert change.is_slowdown is is_slowdown
    assert ("SLOWER" in tables.table(result(*seconds), change)) is is_slowdown


def test_another_batch_is_other_work():
    larger = dataclasses.replace(WORKLOAD.experiment, batch_tokens=1024)
    other = dataclasses.replace(
        result(1.0), workload=dataclasses.replace(WORKLOAD, experiment=larger)
    )
    assert other.key != result(1.0).key


@pytest.mark.parametrize(
    "line", ["{", "[]", "{}", '{"key": "a", "figures": {"x": {"zoo": {}}}}', "\xff"]
)
def test_a_damaged_line_is_named(line: str, tmp_path: Path):
    path = tmp_path / "results.jsonl"
    ResultsFile(path).append(result(1.0).to_json())
    with path.open("ab") as file:
        file.write(line.encode("latin-1") + b"\n")
    with pytest.raises(DataError, match=r"results\.jsonl.*(line 2|cannot be read)"):
        ResultsFile(path)


def test_a_file_that_cannot_be_written_is_an_error_with_its_flag(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkdirError, match="--results="):
        ResultsFile(tmp_path / "file" / "results.jsonl").append({})
