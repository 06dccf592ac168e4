"""The trackers through modules that record what they are given, in the real packages' terms."""

import importlib.util
import json
import os
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from models.config import ConfigError
from zoo.reporting.trackers import check_installed, start_tracker

CONFIG = {"type": "Experiment", "seed": 1, "optimizer": {"type": "AdamW", "beta1": 0.9}}
CALLS: list[tuple[str, Any]] = []


def record(name: str, result: Any = None):
    """A function that notes its arguments and returns `result`."""

    def call(*args: Any, **kwargs: Any) -> Any:
        CALLS.append((name, kwargs if kwargs else args))
        return result

    return call


def fake_wandb() -> ModuleType:
    module = ModuleType("wandb")
    run = SimpleNamespace(log=record("log"), finish=record("finish"))
    run.define_metric = record("define_metric")
    vars(module).update(init=record("init", run), Html=lambda text: text)
    return module


def fake_mlflow() -> ModuleType:
    module, entities = ModuleType("mlflow"), ModuleType("mlflow.entities")
    created = SimpleNamespace(info=SimpleNamespace(run_id="from-the-server"))
    client = SimpleNamespace(
        get_experiment_by_name=record("get_experiment_by_name"),
        create_experiment=record("create_experiment", "7"),
        create_run=record("create_run", created),
        update_run=record("update_run"),
        log_batch=record("log_batch", SimpleNamespace(wait=record("wait"))),
        log_text=record("log_text"),
        set_terminated=record("set_terminated"),
    )
    vars(entities).update(Metric=lambda *args: args, Param=lambda *args: args)
    vars(module).update(
        MlflowClient=record("MlflowClient", client),
        is_tracking_uri_set=lambda: "MLFLOW_TRACKING_URI" in os.environ,
        entities=entities,
    )
    sys.modules["mlflow.entities"] = entities
    return module


def fake_trackio() -> ModuleType:
    module = ModuleType("trackio")
    run = SimpleNamespace(log=record("log"))
    vars(module).update(
        init=record("init", run), finish=record("finish"), Markdown=lambda text: text
    )
    return module


FAKES = {"wandb": fake_wandb, "mlflow": fake_mlflow, "trackio": fake_trackio}


@pytest.fixture(params=FAKES)
def name(request, monkeypatch):
    """The name of a tracker whose package is a fake."""
    monkeypatch.setitem(sys.modules, "mlflow.entities", None)
    module = FAKES[request.param]()
    module.__spec__ = ModuleSpec(request.param, None)
    monkeypatch.setitem(sys.modules, request.param, module)
    CALLS.clear()
    return request.param


def called(name: str) -> list[Any]:
    return [arguments for called_name, arguments in CALLS if called_name == name]


def start(name, workdir, warn=pytest.fail, **options):
    return start_tracker(name, workdir, "palm_nano", CONFIG, warn, **options)


def test_a_run_goes_to_the_tracker_and_resumes_there_under_the_same_id(name, tmp_path):
    for _ in range(2):
        tracker = start(name, tmp_path)
        tracker.metrics(3, {"train/loss": 2.5})
        tracker.text(3, "sample", "<def>")
        tracker.close(failed=False)
    ids = json.loads((tmp_path / "tracking.json").read_text())
    assert list(ids) == [name]
    if name == "wandb":
        first, second = called("init")
        assert first["id"] == second["id"] == ids["wandb"]
        assert first["config"] == {"seed": 1, "optimizer": "AdamW", "optimizer.beta1": 0.9}
        assert called("define_metric")[1] == {"step_metric": "step"}
        assert ({"train/loss": 2.5, "step": 3},) in called("log")
        assert ({"sample": "<pre>&lt;def&gt;</pre>", "step": 3},) in called("log")
        assert called("finish") == [{"exit_code": 0}] * 2
    elif name == "mlflow":
        assert ids["mlflow"] == "from-the-server"
        assert len(called("create_run")) == 1
        assert called("update_run") == [{"status": "RUNNING"}]
        params, metrics, _ = called("log_batch")
        assert metrics["synchronous"] is False
        assert len(called("wait")) == 2  # both before the run ends
        assert ("optimizer.beta1", "0.9") in params["params"]
        ((key, value, _, step),) = metrics["metrics"]
        assert (key, value, step) == ("train/loss", 2.5, 3)
        assert called("log_text")[0] == ("from-the-server", "<def>", "sample/000003.txt")
        assert called("set_terminated") == [{"status": "FINISHED"}] * 2
    else:
        first, second = called("init")
        assert first["name"] == second["name"] == ids["trackio"]
        assert first["name"].startswith("palm_nano-")
        assert first["resume"] == "allow"
        assert called("log")[0] == {"step": 3}
        assert len(called("finish")) == 2


def test_a_run_that_goes_back_is_a_new_run_there(name, tmp_path):
    ids = []
    for goes_back in (False, True, False):
        start(name, tmp_path, goes_back=goes_back).close(failed=False)
        ids.append(json.loads((tmp_path / "tracking.json").read_text())[name])
    if name == "mlflow":
        assert len(called("create_run")) == 2
    else:
        assert ids[0] != ids[1] == ids[2]


def test_mlflow_writes_to_the_workdir_unless_a_store_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setitem(sys.modules, "mlflow.entities", None)
    monkeypatch.setitem(sys.modules, "mlflow", fake_mlflow())
    CALLS.clear()
    start("mlflow", tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere")
    (tmp_path / "tracking.json").unlink()
    start("mlflow", tmp_path)
    assert called("MlflowClient") == [(f"sqlite:///{tmp_path}/mlflow.db",), (None,)]
    folders = [options["artifact_location"] for options in called("create_experiment")]
    assert folders == [(tmp_path / "mlartifacts").as_uri(), None]


def test_what_a_tracker_prints_is_not_on_stdout(name, tmp_path, monkeypatch, capsys):
    tracker = start(name, tmp_path)
    inner = vars(tracker)["_tracker"]
    monkeypatch.setattr(type(inner), "close", lambda self, failed: print("* finished"))
    tracker.close(failed=False)
    assert capsys.readouterr() == ("", "* finished\n")


def test_a_tracker_that_fails_is_left_out_with_one_warning(name, tmp_path, monkeypatch):
    def fail(*_: Any, **__: Any) -> None:
        raise ConnectionError("the server is gone\nmore")

    warnings: list[str] = []
    tracker = start(name, tmp_path, warnings.append)
    inner = vars(tracker)["_tracker"]
    monkeypatch.setattr(type(inner), "metrics", fail)
    for step in (1, 2):
        tracker.metrics(step, {"train/loss": 1.0})
    tracker.text(2, "sample", "def")
    tracker.close(failed=False)
    (warning,) = warnings
    assert f"--track={name} failed" in warning
    assert "(the server is gone)" in warning
    assert called("log") == called("log_text") == called("finish") == []


def test_a_tracker_that_cannot_start_is_a_mistake_to_correct(name, tmp_path, monkeypatch):
    def fail(*_: Any, **__: Any) -> None:
        raise ValueError("no API key\nlong explanation")

    entry = "MlflowClient" if name == "mlflow" else "init"
    monkeypatch.setattr(sys.modules[name], entry, fail)
    with pytest.raises(ConfigError, match=rf"^--track={name} cannot start: no API key; .* leave"):
        start(name, tmp_path)
    assert not (tmp_path / "tracking.json").exists()


def test_a_package_that_is_missing_comes_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    check_installed(None)
    with pytest.raises(ConfigError, match=r"run pip install 'gpt-zoo\[wandb\]'$"):
        check_installed("wandb")
