"""Device and precision of a run, and transfers to a device."""

from functools import lru_cache

import psutil
import torch

from codial.errors import CodialError


def choose_device(name: str) -> torch.device:
    """Return the device with the given name; "auto" is a GPU if there is one, otherwise the CPU.

    Raises:
        CodialError: torch has no such device on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise CodialError(f"train.device is {name!r}, which is not available on this machine ({error}).") from error


def describe_device(device: torch.device, precision: str) -> str:
    """Return the device's name and the data type of forward passes, for a run's provenance."""
    cpu = f"cpu ({torch.get_num_threads()} threads)"
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu
    return f"{name}, {'bf16' if uses_bf16(precision, device) else 'float32'}"


def uses_bf16(precision: str, device: torch.device) -> bool:
    """Return whether forward passes run in bfloat16; "auto" uses it where the hardware supports it."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return device.type == "cpu" and bool(supported())


def free_memory(device: torch.device) -> int:
    """Return the free memory of a device in bytes; on the CPU, what is available without swapping."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available


@lru_cache(maxsize=64)
def constant(values: tuple[float, ...], device: torch.device) -> torch.Tensor:
    """Return fixed numbers on a device, [n] float32; cached, because each copy to a GPU synchronizes with it."""
    return torch.tensor(values, dtype=torch.float32, device=device)


def to_device(x: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copy a tensor to a device; from CPU to GPU without synchronizing."""
    if device.type == "cuda" and x.device.type == "cpu":
        return x.pin_memory().to(device, non_blocking=True)
    return x.to(device)
