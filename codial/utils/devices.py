"""Device and precision of a run, and transfers to a device."""

import os
import warnings
from functools import lru_cache
from pathlib import Path

import psutil
import torch

from codial.errors import CodialError
from codial.utils.containers import free_container_memory
from codial.utils.machine_errors import explain_machine_error


def choose_device(name: str) -> torch.device:
    """Return the device with the given name; "auto" is a CUDA GPU, else Apple's MPS (untested), else the CPU.

    A warning tells of an NVIDIA GPU that "auto" cannot use, such as one with an old driver.

    Raises:
        CodialError: torch has no such device on this machine, or the GPU is busy.
    """
    device = _first_device() if name == "auto" else name
    try:
        return torch.ones(1, device=device).device  # starts the GPU, too
    except (RuntimeError, AssertionError) as error:
        reason = explain_machine_error(error) or " ".join(str(error).split()).partition(". ")[0]
        raise CodialError(f"train.device is {name!r}, which is not available on this machine: {reason}") from error


def has_cuda() -> bool:
    """Return whether a CUDA GPU can be used; `unusable_gpu` says why not, in place of torch's warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.cuda.is_available()


def unusable_gpu(root: Path = Path("/")) -> str:
    """Return why the NVIDIA GPU of this machine cannot be used; empty if there is none, or if it is hidden.

    Args:
        root: folder with `dev`.
    """
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0") in ("", "-1"):
        return ""
    exists = any(root.glob("dev/nvidia[0-9]*"))
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        missing = any(text in str(error) for text in ("no NVIDIA driver", "No CUDA GPUs", "not compiled with CUDA"))
        return "" if missing and not exists else explain_machine_error(error) or " ".join(str(error).split())
    return ""


def _first_device() -> str:
    if has_cuda():
        return "cuda"
    if reason := unusable_gpu():
        warnings.warn(f"The GPU cannot be used, the CPU is. {reason}", stacklevel=3)
    if torch.backends.mps.is_available():
        warnings.warn("Apple's MPS is used, with which codial is untested; --device cpu is safe.", stacklevel=3)
        return "mps"
    return "cpu"


def describe_device(device: torch.device, precision: str) -> str:
    """Return the device's name and the data type of forward passes, for a run's provenance."""
    names = {"cpu": f"cpu ({torch.get_num_threads()} threads)"}
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else names.get(device.type, str(device))
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
    """Return the free memory of a device in bytes.

    On the CPU, whose memory MPS shares, it is what is available without swapping, and within the container's limit.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    available, container = psutil.virtual_memory().available, free_container_memory()
    return available if container is None else min(available, container)


def float64_on(device: torch.device) -> torch.dtype:
    """Return float64, or float32 on a device that lacks it (MPS)."""
    return torch.float32 if device.type == "mps" else torch.float64


@lru_cache(maxsize=64)
def constant(values: tuple[float, ...], device: torch.device) -> torch.Tensor:
    """Return fixed numbers on a device, [n] float32; cached, because each copy to a GPU synchronizes with it."""
    return torch.tensor(values, dtype=torch.float32, device=device)


def to_device(x: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copy a tensor to a device; from CPU to GPU without synchronizing."""
    if device.type == "cuda" and x.device.type == "cpu":
        return x.pin_memory().to(device, non_blocking=True)
    return x.to(device)
