"""How many floating-point operations a model needs, and how many a chip can do."""

from models.config import ModelConfig

PEAK_BFLOAT16_FLOPS_PER_S = {
    # Per JAX device, dense bfloat16, from the vendors' data sheets; a TPU v2 or v3 chip is two
    # devices. A chip that is not listed has no MFU: an unknown peak is never guessed.
    "TPU v2": 22.5e12,
    "TPU v3": 61.5e12,
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5": 459e12,
    "TPU v6 lite": 918e12,
    "NVIDIA A100-SXM4-40GB": 312e12,
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA A100-PCIE-40GB": 312e12,
    "NVIDIA A100 80GB PCIe": 312e12,
    "NVIDIA H100 80GB HBM3": 989e12,
    "NVIDIA H100 PCIe": 756e12,
    "NVIDIA H200": 989e12,
    "NVIDIA L4": 121e12,
}


def train_flops_per_token(model: ModelConfig, num_params: int, seq_len: int) -> float:
    """6N + 12 L N_heads H T: forward and backward, each multiply-add as two (PaLM, appendix B).

    Rematerialisation does not count, and causality is not halved, so that MFU is comparable
    between papers.
    """
    attention_width = model.attention.num_heads * model.attention.head_dim
    return 6 * num_params + 12 * model.num_layers * attention_width * seq_len


def mfu(flops_per_s: float, device_kind: str, num_devices: int, dtype: str) -> float | None:
    """Model FLOPs utilisation in [0, 1]; None where the peak is not known for this chip and dtype."""
    peak = PEAK_BFLOAT16_FLOPS_PER_S.get(device_kind) if dtype == "bfloat16" else None
    return None if peak is None else flops_per_s / (peak * num_devices)
