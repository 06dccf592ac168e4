"""The other side of a measurement: the same shape in `transformers`, on the same device."""

import importlib.util
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from data.tokens.encoding import num_cores
from models.config import ConfigError, ModelConfig, check
from zoo.benchmarking import What
from zoo.benchmarking.ours import Repeat, process_peak_bytes, random_prompts
from zoo.benchmarking.workload import Workload
from zoo.hf.config import to_hf_config


def check_possible(model: ModelConfig, parts: Sequence[What]) -> None:
    """Raise ConfigError unless `transformers` is installed and can do all parts of this model."""
    missing = [name for name in ("transformers", "torch") if importlib.util.find_spec(name) is None]
    check(
        not missing,
        f"--against=transformers needs {' and '.join(missing)}; pip install transformers torch",
    )
    for part in parts:
        check(
            part not in ("input", "startup"),
            f"--against=transformers has nothing to compare --what={part} with; write "
            "--what=train,prefill,decode",
        )
    try:
        to_hf_config(model)
    except ConfigError as error:
        raise ConfigError(f"--against=transformers is not possible: {error}") from error


def prepare(workload: Workload, platform: str) -> Repeat:
    """Return the work of a repeat. Raises ConfigError if PyTorch has no such device.

    Args:
      platform: JAX's name for the kind of device.
    """
    import torch
    import transformers

    transformers.utils.logging.set_verbosity_error()
    check(
        platform == "cpu" or (platform == "gpu" and torch.cuda.is_available()),
        f"--against=transformers: PyTorch has no device of JAX's platform {platform!r} here; "
        "compare on a CPU (JAX_PLATFORMS=cpu) or install PyTorch with CUDA",
    )
    device = torch.device("cpu" if platform == "cpu" else "cuda")
    torch.set_num_threads(num_cores())
    torch.manual_seed(0)
    _, fields = to_hf_config(workload.model)
    dtype = getattr(torch, workload.experiment.execution.dtype)
    config = transformers.AutoConfig.for_model(**fields)
    config.use_cache = workload.what != "train"
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
    if workload.what == "train":
        return _train(workload, model.to(device), dtype)
    return _sample(workload, model.to(device, dtype).eval())


def peak_bytes() -> int:
    """Return the most memory that this process has used: of a GPU, or else of the computer."""
    import torch

    on_device = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    return on_device or process_peak_bytes()


def _train(workload: Workload, model: Any, dtype: Any) -> Repeat:
    """One step: forward, cross-entropy, backward, clipping by the global norm and AdamW.

    Parameters are float32; in bfloat16 the products are autocast, as the zoo computes.
    """
    import torch

    experiment = workload.experiment
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1)
    slices = np.random.default_rng(0).integers(
        experiment.model.vocab_size,
        size=(
            experiment.num_micro_batches,
            experiment.batch_size // experiment.num_micro_batches,
            experiment.seq_len,
        ),
    )
    batches = [torch.from_numpy(rows).to(model.device) for rows in slices]

    def repeat() -> dict[str, float]:
        start_s = time.perf_counter()
        for rows in batches:
            with torch.autocast(model.device.type, dtype, enabled=dtype != torch.float32):
                loss = model(input_ids=rows, labels=rows).loss / len(batches)
            loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        _wait(model.device)
        return {"step": time.perf_counter() - start_s}

    return repeat


def _sample(workload: Workload, model: Any) -> Repeat:
    """Continue the prompts greedily with `generate`."""
    import torch

    prompts = torch.tensor(random_prompts(workload), device=model.device)

    def continued(num_tokens: int) -> float:
        start_s = time.perf_counter()
        with torch.no_grad():
            model.generate(
                prompts,
                attention_mask=torch.ones_like(prompts),
                max_new_tokens=num_tokens,
                min_new_tokens=num_tokens,
                do_sample=False,
                pad_token_id=0,
            )
        _wait(model.device)
        return time.perf_counter() - start_s

    return lambda: workload.repeat(continued)


def _wait(device: Any) -> None:
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize()
