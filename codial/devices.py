"""Which device a run uses, and in which precision."""

from functools import lru_cache

import psutil
import torch

from codial.errors import CodialError


def choose_device(wanted: str) -> torch.device:
    """Return the device called `wanted`; "auto" is a GPU when there is one.

    Raises:
        CodialError: torch does not see such a device here.
    """
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=wanted).device
    except (RuntimeError, AssertionError) as error:
        raise CodialError(f"train.device is {wanted!r}, which this machine does not offer ({error}).") from error


def describe(device: torch.device, precision: str) -> str:
    """Return the device's name and in what a run's forward passes are computed there, for provenance."""
    cpu = f"cpu ({torch.get_num_threads()} threads)"
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu
    return f"{name}, {'bf16' if uses_bf16(precision, device) else 'float32'}"


def uses_bf16(precision: str, device: torch.device) -> bool:
    """Return whether forward passes run in bfloat16: on "auto", where the device has units for it."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return device.type == "cpu" and bool(supported())


def free_memory(device: torch.device) -> int:
    """Return how many bytes can still be had on a device; on a host, without making it swap."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available


@lru_cache(maxsize=64)
def constant(values: tuple[float, ...], device: torch.device) -> torch.Tensor:
    """Return fixed numbers on a device, [n] float32, sent there once: a host that sends waits for its GPU."""
    return torch.tensor(values, dtype=torch.float32, device=device)


def to_device(x: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Send a tensor from the host without waiting for what a GPU is still doing."""
    if device.type == "cuda" and x.device.type == "cpu":
        return x.pin_memory().to(device, non_blocking=True)
    return x.to(device)
