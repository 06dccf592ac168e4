"""Programs compiled for devices that are not present."""

import dataclasses
import platform
import re
import sys

import jax
import pytest

import configs
from configs.experiment import Experiment, Mesh
from models.config import ConfigError
from tests.models import experiments
from zoo.distribution import sharding
from zoo.planning import compilation, hardware
from zoo.planning.speed.collectives import collectives
from zoo.planning.training import on_accelerator, plan_training

CUBE = sharding.mesh_shape(Mesh(fsdp=2, tensor=2), 4)
PRINT_TEMPORARIES = """
import configs
from configs.experiment import Mesh
from zoo.distribution import sharding
from zoo.planning import compilation, hardware
from zoo.planning.training import on_accelerator

experiment, cube = on_accelerator(configs.get("llama_small")), sharding.mesh_shape(Mesh(fsdp=4), 4)
step = compilation.compile_step(experiment, hardware.parse("v5e:2x2", 1), cube, quick=True)
print(step.temporary_bytes)
"""


def program(experiment: Experiment) -> str:
    mesh = sharding.make_mesh(experiment.mesh, jax.device_count())
    text = compilation.lower(experiment, mesh).compile().as_text()
    assert text is not None
    return text


def test_the_program_does_not_grow_with_depth():
    def lines(num_layers: int) -> int:
        model = dataclasses.replace(experiments.PALM.model, num_layers=num_layers)
        experiment = dataclasses.replace(experiments.PALM, model=model, mesh=Mesh())
        return len(program(experiment).splitlines())

    assert lines(32) == pytest.approx(lines(4), rel=0.05)


def collective_counts(experiment: Experiment) -> dict[str, int]:
    return {c.kind: c.count for c in collectives(program(experiment), 8)}


def test_collectives_inside_the_layers_are_counted_once_a_layer():
    def count(num_layers: int) -> int:
        model = dataclasses.replace(experiments.PALM.model, num_layers=num_layers)
        experiment = dataclasses.replace(experiments.PALM, model=model, mesh=Mesh(fsdp=8))
        return experiments.on_eight_devices(collective_counts, experiment)["all-gather"]

    four, eight, sixteen = map(count, (4, 8, 16))
    assert sixteen - eight == 2 * (eight - four) > 0


def test_libtpu_is_installed_on_platforms_that_have_it():
    """Otherwise the tests below would be skipped and compile nothing."""
    if sys.platform == "linux" and platform.machine() == "x86_64":
        assert compilation.can_compile()


@pytest.mark.skipif(not compilation.can_compile(), reason="no libtpu for this platform")
class TestWithLibtpu:
    """Real compilations. The extra `[test]` installs libtpu on Linux."""

    def test_a_step_is_compiled_and_its_bytes_are_plausible(self):
        topology = hardware.parse("v5e:2x2", 1)
        compiled = compilation.compile_step(
            on_accelerator(configs.get("palm_nano")), topology, CUBE
        )
        assert compiled.code_bytes > 0
        assert 0 < compiled.argument_bytes < topology.chip.hbm_bytes
        assert {"all-gather", "all-reduce"} <= {c.kind for c in compiled.collectives}
        assert compiled.compile_s > 0

    def test_too_large_a_step_is_refused_with_the_compilers_numbers(self):
        huge = dataclasses.replace(on_accelerator(configs.get("llama_7b")), batch_tokens=64 * 2048)
        with pytest.raises(compilation.DoesNotFitError, match=r"exceeds available HBM \(15\.75G"):
            compilation.compile_step(huge, hardware.parse("v5e:2x2", 1), CUBE)

    def test_a_shape_that_libtpu_refuses_is_a_config_error(self):
        with pytest.raises(ConfigError, match=r"--topology='v5e:3x1' is refused by libtpu"):
            shape = sharding.mesh_shape(Mesh(), 3)
            compilation.compile_step(
                on_accelerator(configs.get("palm_nano")), hardware.parse("v5e:3x1", 1), shape
            )


GPUS, GPUS_OF_CUBE = hardware.parse("h100:8", 1), hardware.parse("h100:4", 1)
CANNOT_COMPILE_FOR_GPUS = compilation.why_estimated(GPUS)


def test_gpus_that_are_not_whole_nodes_are_a_config_error():
    with pytest.raises(ConfigError, match=r"--topology=h100:12 is not whole nodes of 8 GPUs"):
        compilation._gpus(hardware.parse("h100:12", 1))


def test_an_older_jax_with_the_wheels_is_named(monkeypatch):
    monkeypatch.setattr(compilation, "has_cuda_wheels", lambda: True)
    monkeypatch.setattr(jax, "__version_info__", (0, 10, 2))
    reason = compilation.why_estimated(GPUS)
    assert reason is not None
    assert reason.startswith("jax is 0.")
    monkeypatch.setattr(jax, "__version_info__", (0, 12, 0))
    assert compilation.why_estimated(GPUS) is None


@pytest.mark.skipif(not compilation.can_compile(), reason="no libtpu for this platform")
def test_the_temporaries_are_those_of_the_compilers_own_buffers(monkeypatch, tmp_path, run_process):
    """XLA writes down its assignment of buffers, of which one holds all temporaries."""
    monkeypatch.setenv("XLA_FLAGS", f"--xla_dump_to={tmp_path} --xla_dump_hlo_as_text=true")
    process = run_process("-c", PRINT_TEMPORARIES)
    assert process.returncode == 0, process.stderr
    (assignment,) = tmp_path.rglob("*jit_train_step*buffer-assignment.txt")
    sizes = re.findall(r"size (\d+),(?: page \d+,)? preallocated-temp", assignment.read_text())
    assert int(process.stdout) == pytest.approx(max(map(int, sizes)), rel=0.1)


@pytest.mark.skipif(CANNOT_COMPILE_FOR_GPUS is not None, reason=str(CANNOT_COMPILE_FOR_GPUS))
class TestWithCudaWheels:
    """Real compilations. The wheels are 5 GB, which CI does not install; CONTRIBUTING.md says how
    to run these tests, and pytest's summary says that they were left out.
    """

    @pytest.mark.parametrize("name", ["h100:4", "a100_80gb:4", "b200:4"])
    def test_a_step_is_compiled_and_its_bytes_are_plausible(self, name: str):
        topology = hardware.parse(name, 1)
        compiled = compilation.compile_step(
            on_accelerator(configs.get("palm_nano")), topology, CUBE
        )
        assert 0 < compiled.argument_bytes < topology.chip.hbm_bytes
        assert compiled.temporary_bytes > 0
        assert {"all-gather", "all-reduce"} <= {c.kind for c in compiled.collectives}
        assert not any(c.across_slices for c in compiled.collectives)

    def test_a_step_with_the_gpus_own_attention_is_compiled(self):
        plan = plan_training(on_accelerator(configs.get("llama_nano")), GPUS_OF_CUBE, CUBE, "quick")
        assert plan.attention.startswith("cudnn: ")
        assert plan.source == "compiled"

    def test_two_nodes_talk_over_the_network(self):
        shape = sharding.mesh_shape(Mesh(data=2, fsdp=8), 16)
        experiment = dataclasses.replace(on_accelerator(configs.get("palm_nano")), batch_ramp=None)
        experiment = dataclasses.replace(experiment, batch_tokens=16 * experiment.seq_len)
        compiled = compilation.compile_step(experiment, hardware.parse("h100:16", 1), shape)
        assert any(c.across_slices for c in compiled.collectives)
