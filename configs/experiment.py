"""What a run is, as plain data: a model, how it is trained, on what, on which devices.

Standard library only, so that `--help` answers at once. The words under a field are its help text.
"""

from dataclasses import dataclass

from data.config import Data
from models.config import Execution, Learned, ModelConfig, check


@dataclass(frozen=True, kw_only=True)
class InverseSquareRoot:
    """lr(k) = peak_lr * sqrt(constant_steps / max(k, constant_steps)) at step k = 1, 2, ...

    With peak_lr 1e-2 and constant_steps 10,000 this is PaLM's schedule: 1e-2, then 1/sqrt(k).
    """

    peak_lr: float
    constant_steps: int
    """Steps at the peak before the decay."""

    def __post_init__(self):
        _check_lr(self.peak_lr)
        check(self.constant_steps > 0,
              f"optimizer.schedule.constant-steps={self.constant_steps} must be above zero")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class WarmupCosine:
    """Linear warm-up to the peak, half a cosine down to `final_fraction` of it, then constant."""

    peak_lr: float
    warmup_steps: int
    initial_lr: float = 0.0
    """Where the warm-up starts."""
    decay_steps: int | None = None
    """Step at which the cosine ends, warm-up included; None: the run's last step."""
    final_fraction: float = 0.1

    def __post_init__(self):
        _check_lr(self.peak_lr)
        check(self.warmup_steps >= 0,
              f"optimizer.schedule.warmup-steps={self.warmup_steps} must not be negative")  # fmt: skip
        check(0 <= self.initial_lr <= self.peak_lr,
              f"optimizer.schedule.initial-lr={self.initial_lr} must lie between zero and "
              f"peak-lr={self.peak_lr}")  # fmt: skip
        check(self.decay_steps is None or self.decay_steps > self.warmup_steps,
              f"optimizer.schedule.decay-steps={self.decay_steps} must exceed "
              f"warmup-steps={self.warmup_steps}: the cosine ends there")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Adafactor:
    """Adafactor without factoring: Adam-like, each step scaled by its matrix's RMS (PaLM, sec. 5)."""

    schedule: InverseSquareRoot | WarmupCosine
    beta1: float = 0.9
    decay_exponent: float = 0.8
    """beta2 at step k is 1 - k^(-decay_exponent)."""
    weight_decay_exponent: float = 2.0
    """Every step multiplies each matrix by 1 - lr^weight_decay_exponent."""
    clip_norm: float = 1.0
    """Global gradient norm above which gradients are scaled down."""


@dataclass(frozen=True, kw_only=True)
class AdamW:
    """Adam with decoupled weight decay on matrices (Loshchilov & Hutter 2019)."""

    schedule: InverseSquareRoot | WarmupCosine
    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-8
    weight_decay: float = 0.1
    clip_norm: float = 1.0
    """Global gradient norm above which gradients are scaled down."""


@dataclass(frozen=True, kw_only=True)
class Mesh:
    """Devices along each mesh axis; their product is the number of devices used. Of the axes that are
    not given (None), `data` takes all devices that are left and the others are 1; with --mesh=auto what
    fits is chosen, and said why."""

    auto: bool = False
    """Choose the axes that are not given (short: --mesh=auto)."""
    data: int | None = None
    """Copies of the model, each on its share of the batch."""
    fsdp: int | None = None
    """Ways to split parameters, optimizer state and batch (ZeRO)."""
    tensor: int | None = None
    """Ways to split heads, feed-forward width and vocabulary (Megatron)."""
    sequence: int | None = None
    """Ways to split the length of every sequence; each device attends with its part to all of it, and
    draws its own dropout."""
    pipeline: int | None = None
    """Stages among which the layers are divided (GPipe)."""
    pipeline_micro_batches: int | None = None
    """Micro-batches that follow each other through the stages of a pipeline, each with its own
    dropout. None: one per stage."""

    def __post_init__(self):
        for axis in ("data", "fsdp", "tensor", "sequence", "pipeline", "pipeline_micro_batches"):
            size, flag = getattr(self, axis), axis.replace("_", "-")
            check(
                size is None or size > 0,
                f"mesh.{axis}={size} must be above zero; write --mesh.{flag}=1",
            )


@dataclass(frozen=True, kw_only=True)
class Distributed:
    """How the processes of one run on several hosts find each other. On Cloud TPU, GKE with TPUs, Slurm
    and Open MPI they do so without any flag."""

    coordinator: str | None = None
    """HOST:PORT of process 0, a port that is free there. None: as the cluster says, if it is one."""
    num_processes: int | None = None
    """Processes of the run; 1 runs this one alone whatever the cluster says. None: as the cluster says."""
    process_id: int | None = None
    """Which of them this is, from 0. None: as the cluster says."""
    timeout_s: int = 300
    """How long the first process waits for the last; then the missing ones are named."""
    heartbeat_s: int = 30
    """After this long without a sign of life a process counts as lost, and all others end."""

    def __post_init__(self):
        for field in ("num_processes", "timeout_s", "heartbeat_s"):
            value, flag = getattr(self, field), field.replace("_", "-")
            check(value is None or value > 0,
                  f"distributed.{field}={value} must be above zero; write "
                  f"--distributed.{flag}=1 or more")  # fmt: skip
        check(self.coordinator is None or self.coordinator.rpartition(":")[2].isdecimal(),
              f"distributed.coordinator={self.coordinator} must be HOST:PORT; write for example "
              "--distributed.coordinator=10.0.0.1:8476")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One training run. The resolved one is `config.json` in the workdir and in every checkpoint."""

    model: ModelConfig
    optimizer: Adafactor | AdamW
    data: Data = Data()
    mesh: Mesh = Mesh()
    execution: Execution = Execution()
    num_steps: int
    """Optimizer steps."""
    batch_tokens: int
    """Tokens per optimizer step, over all devices."""
    seq_len: int
    """Tokens per sequence."""
    init_from: str | None = None
    """Start with the parameters and the vocabulary of this checkpoint (a workdir or one of its
    checkpoints/STEP folders) at step 0 of a new run, instead of random ones. None: random."""
    z_loss: float = 0.0
    """Weight of log^2 Z in the loss, Z the softmax normaliser (PaLM, section 5: 1e-4)."""
    micro_batches: int = 1
    """Slices of a batch whose gradients are computed in turn and added up, to save memory; the result is
    the same."""
    seed: int = 0
    """Of the initial parameters and of dropout. The order of the data has data.seed."""
    log_every: int = 1
    """Steps between lines of metrics.jsonl."""
    eval_every: int = 100
    """Steps between evaluations of the whole validation split (and a sample)."""
    save_every: int = 100
    """Steps between checkpoints."""
    keep: int = 2
    """Newest checkpoints to keep; the one with the best validation loss is kept besides."""

    def __post_init__(self):
        for field in ("num_steps", "batch_tokens", "seq_len", "micro_batches",
                      "log_every", "eval_every", "save_every", "keep"):  # fmt: skip
            value, flag = getattr(self, field), field.replace("_", "-")
            check(value > 0, f"{field}={value} must be above zero; write --{flag}=1 or more")
        check(self.batch_tokens % self.seq_len == 0,
              f"batch_tokens={self.batch_tokens} must be a multiple of seq_len={self.seq_len}; "
              f"write --batch-tokens={max(1, self.batch_tokens // self.seq_len) * self.seq_len}")  # fmt: skip
        check(self.batch_size % self.micro_batches == 0,
              f"micro_batches={self.micro_batches} must divide the batch of {self.batch_size} "
              f"sequences (batch_tokens={self.batch_tokens} / seq_len={self.seq_len})")  # fmt: skip
        check(self.seq_len <= self.model.context_length or not isinstance(self.model.position, Learned),
              f"seq_len={self.seq_len} exceeds model.context_length={self.model.context_length}, and "
              "learned positions end there; write --seq-len="
              f"{self.model.context_length} or raise --model.context-length")  # fmt: skip
        check(self.z_loss >= 0, f"z_loss={self.z_loss} must not be negative")

    @property
    def batch_size(self) -> int:
        """Sequences per optimizer step."""
        return self.batch_tokens // self.seq_len

    @property
    def num_tokens(self) -> int:
        """Tokens of the whole run."""
        return self.num_steps * self.batch_tokens


def _check_lr(peak_lr: float) -> None:
    check(peak_lr > 0, f"optimizer.schedule.peak-lr={peak_lr} must be above zero")
