"""The choice of the kernel that computes attention."""

import dataclasses
from dataclasses import dataclass
from typing import assert_never

from models.attention.splash import TILE
from models.config import ConfigError, ModelConfig, Relative
from models.execution import Execution, Kernel

CUDNN_LARGEST_HEAD, CUDNN_HEAD_UNIT = 128, 8
"""Widths of a head that cuDNN serves: multiples of the unit up to the largest."""
CUDNN_COMPUTE_CAPABILITY = 8.0
"""The lowest compute capability with bfloat16 products: Ampere's."""
WITHOUT_PALLAS = ("TPU v2", "TPU v3")
"""TPUs for which Pallas compiles no kernels."""


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Everything besides the model and its precision that a kernel depends on."""

    device_kind: str
    """JAX's name for the devices."""
    compute_capability: float | None = None
    """That of NVIDIA GPUs that are present; None: not known, as of GPUs that are only described."""
    seq_len: int
    length_is_split: bool
    """True if the devices divide the sequence among them."""
    has_packed_rows: bool
    """True if a row may hold several documents that do not see each other."""
    is_training: bool = True


def choose(model: ModelConfig, execution: Execution, workload: Workload) -> tuple[Execution, str]:
    """Return the execution with its kernel decided, and the reason in words.

    Raises ConfigError if the execution names a kernel that cannot serve.
    """
    match execution.attention:
        case "auto":
            kernel, reason = _fastest(model, execution, workload)
        case "xla":
            kernel, reason = "xla", "as --execution.attention=xla says"
        case "splash" | "cudnn" as kernel:
            obstacle = _obstacle(kernel, model, execution, workload)
            if obstacle is not None:
                raise ConfigError(
                    f"execution.attention={kernel} cannot serve this run: {obstacle}; write "
                    "--execution.attention=auto"
                )
            reason = f"as --execution.attention={kernel} says"
        case _:
            assert_never(execution.attention)
    return dataclasses.replace(execution, attention=kernel), reason


def _fastest(model: ModelConfig, execution: Execution, workload: Workload) -> tuple[Kernel, str]:
    kernel = _kernel_of(workload.device_kind)
    if kernel == "xla":
        return "xla", f"{workload.device_kind} has no kernel of its own"
    obstacle = _obstacle(kernel, model, execution, workload)
    if obstacle is None:
        return kernel, f"the fastest on {workload.device_kind}"
    return "xla", f"{kernel} cannot serve this run: {obstacle}"


def _kernel_of(device_kind: str) -> Kernel:
    """Return the fastest kernel that there is for a kind of devices."""
    if device_kind.startswith("TPU"):
        return "splash"
    return "cudnn" if device_kind.startswith("NVIDIA") else "xla"


def _obstacle(
    kernel: Kernel, model: ModelConfig, execution: Execution, workload: Workload
) -> str | None:
    """Return what keeps a kernel from serving a run exactly; None if nothing does."""
    kind, head_dim = workload.device_kind, model.attention.head_dim
    if kernel != _kernel_of(kind):
        return f"it is not for {kind}"
    if isinstance(model.position, Relative):
        return "it adds no scores by distance, which relative positions need"
    if model.dropout_rate and workload.is_training:
        return f"it drops no attention weights, and model.dropout_rate={model.dropout_rate}"
    if workload.length_is_split:
        return "it needs all keys on one device, and --mesh.sequence splits them"
    match kernel:
        case "splash":
            if kind in WITHOUT_PALLAS:
                return f"Pallas does not compile for {kind}"
            if workload.seq_len % TILE:
                return f"seq_len={workload.seq_len} is not a multiple of {TILE}"
        case "cudnn":
            capability = workload.compute_capability
            if capability is not None and capability < CUDNN_COMPUTE_CAPABILITY:
                return f"it needs compute capability {CUDNN_COMPUTE_CAPABILITY}, not {capability}"
            if workload.has_packed_rows:
                return "JAX's function for it does not keep the documents of a row apart"
            if execution.dtype != "bfloat16":
                return f"it does not compute in {execution.dtype}"
            if head_dim % CUDNN_HEAD_UNIT or head_dim > CUDNN_LARGEST_HEAD:
                return (
                    f"model.attention.head_dim={head_dim} is not a multiple of {CUDNN_HEAD_UNIT} "
                    f"up to {CUDNN_LARGEST_HEAD}"
                )
        case "xla":
            pass
        case _:
            assert_never(kernel)
    return None
