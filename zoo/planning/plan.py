"""The part that plans of training and plans of serving share."""

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

from zoo.planning.hardware import Topology
from zoo.planning.memory import DeviceBytes
from zoo.planning.speed.collectives import Collective


@dataclass(frozen=True, kw_only=True)
class Plan(ABC):
    """One program on one mesh: what each device holds and sends, and how fast it could be."""

    topology: Topology
    shape: dict[str, int]
    """Devices along every axis of the mesh."""
    bytes: DeviceBytes
    """Estimated unless the program was compiled."""
    collectives: list[Collective]
    compile_s: float | None = None
    """None if the program was not compiled, or refused."""
    refusal: str | None = None
    """The compiler's message if it found too little memory."""

    @property
    def fits(self) -> bool:
        """True if each device has enough memory."""
        return self.refusal is None and self.bytes.total <= self.topology.chip.hbm_bytes

    @property
    def source(self) -> Literal["compiled", "estimated"]:
        """The origin of the bytes and the collectives."""
        return "estimated" if self.compile_s is None else "compiled"

    def summary(self, name: str) -> dict[str, Any]:
        """Return the object that --json prints for the model `name`."""
        return {
            "model": name,
            "topology": self.topology.name,
            "num_slices": self.topology.num_slices,
            "num_devices": self.topology.num_devices,
            "mesh": self.shape,
            **self.workload(),
            "source": self.source,
            "bytes_per_device": self.bytes.parts() | {"total": self.bytes.total},
            "hbm_bytes": round(self.topology.chip.hbm_bytes),
            "fits": self.fits,
            "refusal": self.refusal,
            "collectives": [dataclasses.asdict(collective) for collective in self.collectives],
            "compile_s": self.compile_s,
            "estimate": self.speed(),
        }

    @abstractmethod
    def workload(self) -> dict[str, Any]:
        """Return the fields of --json that say what the program computes."""

    @abstractmethod
    def speed(self) -> dict[str, float]:
        """Return the estimated bounds on the speed, by their names in --json."""
