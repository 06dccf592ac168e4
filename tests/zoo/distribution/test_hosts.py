"""The exchange between processes, with made-up peers; real ones are in test_join.py."""

import dataclasses
import shutil
import signal
from pathlib import Path

import jax
import pytest

import configs
from configs.experiment import Mesh
from data.config import Files, Mixture
from data.errors import DataError
from models.config import ConfigError
from zoo.common.errors import OtherHostError
from zoo.distribution import hosts as agreement
from zoo.distribution.hosts import Hosts, StopVote, launched_as
from zoo.distribution.sharding import make_mesh

THREE = Hosts(("a", "b", "c"))
PALM = configs.get("palm_nano")


@pytest.fixture
def others_say(monkeypatch):
    """Makes `gather` return this process's value and these, or what they make of it."""

    def say(*others) -> None:
        monkeypatch.setattr(Hosts, "gather", staticmethod(lambda value: [value, *others]))

    return say


def test_a_process_alone_agrees_with_itself():
    alone = Hosts()
    assert alone.is_primary
    assert alone.gather({"a": 1}) == [{"a": 1}]
    assert alone.together(lambda: 5) == 5
    assert alone.in_turn(lambda: 5) == 5
    alone.require_same("the text", {"seed": 1}, DataError)
    done = []
    alone.on_primary(lambda: done.append(1))
    assert done == [1]


def test_a_mistake_of_another_process_is_raised_here_with_its_name_and_code(others_say):
    others_say(None, ["no such file", 3])
    with pytest.raises(OtherHostError, match=r"^on c \(process 2\): no such file$") as raised:
        THREE.together(lambda: None)
    assert raised.value.exit_code == 3


def test_a_mistake_of_this_process_stays_what_it_is(others_say):
    others_say(None, ["no such file", 3])

    def fail():
        raise ConfigError("mine")

    with pytest.raises(ConfigError, match="^mine$"):
        THREE.together(fail)


def test_a_bug_is_not_told_as_a_mistake():
    with pytest.raises(ZeroDivisionError):
        Hosts().together(lambda: 1 // 0)


def test_facts_that_differ_are_named_with_their_hosts(others_say):
    others_say({"seed": 0, "model": {"d_model": 32}}, {"seed": 1, "model": {"d_model": 64}})
    with pytest.raises(DataError) as raised:
        THREE.require_same("the text", {"seed": 0, "model": {"d_model": 32}}, DataError)
    assert str(raised.value) == (
        "the hosts disagree about the text: seed is 0 on a (process 0) and 1 on c (process 2); "
        "model.d_model is 32 on a (process 0) and 64 on c (process 2)"
    )


def test_many_differences_are_counted(others_say):
    others_say({str(key): 1 for key in range(20)}, {})
    with pytest.raises(ConfigError, match="and 32 more$"):
        THREE.require_same("what to run", {str(key): 0 for key in range(20)}, ConfigError)


def test_processes_must_run_the_same_config_code_and_jax_wherever_their_files_lie():
    def facts(**data) -> dict:
        return launched_as(
            dataclasses.replace(PALM, data=dataclasses.replace(PALM.data, **data)), fresh=False
        )

    here, there = (Files(f"{folder}/*") for folder in ("here", "there"))
    assert facts(source=here, cache_dir="a") == facts(source=there, cache_dir="b")
    assert facts(source=here) != facts(source=Files("here/*", field="body"))
    here, there = (Mixture.parse(["stdlib=3", f"{folder}/*=1"]) for folder in ("here", "there"))
    assert facts(source=here) == facts(source=there)
    assert facts(source=here) != facts(source=Mixture.parse(["stdlib=2", "here/*=1"]))
    assert facts(seed=1) != facts(seed=2)
    assert facts() != launched_as(PALM, fresh=True)
    assert facts()["jax"] == jax.__version__


def test_the_source_hash_sees_a_changed_line(tmp_path, monkeypatch):
    root = Path(agreement.__file__).parents[2]
    for package in ("configs", "data", "models", "zoo"):
        shutil.copytree(root / package, tmp_path / package)
    here = launched_as(PALM, fresh=False)["source code"]
    monkeypatch.setattr(agreement, "__file__", str(tmp_path / "zoo" / "distribution" / "hosts.py"))
    assert launched_as(PALM, fresh=False)["source code"] == here
    with (tmp_path / "models" / "norms.py").open("a") as file:
        file.write("# changed\n")
    assert launched_as(PALM, fresh=False)["source code"] != here


def test_a_process_alone_stops_as_soon_as_it_is_asked():
    vote = StopVote(make_mesh(Mesh(), 1))
    assert vote(None) is None
    assert vote(signal.SIGTERM) == signal.SIGTERM
