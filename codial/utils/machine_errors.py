"""Faults of the machine, which torch reports in several lines and in its own terms, as one plain line each."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from codial.errors import CodialError

# What an error's text contains -> what is wrong and how to mend it, with the groups of the pattern.
_GPU_FAULTS = {
    r"driver on your system is too old \(found version (\d+)0(\d)0\)": (
        "The NVIDIA driver is too old for this torch: it supports CUDA {0}.{1} at most. Update the driver, or install a"
        " torch for that version of CUDA."
    ),
    r"driver on your system is too old": (
        "The NVIDIA driver is too old for this torch. Update it, or install a torch for its version of CUDA."
    ),
    r"Found no NVIDIA driver": (
        "There is no NVIDIA driver. Install it; a container sees it only if it is started with a GPU (docker run --gpus"
        " all)."
    ),
    r"not compiled with CUDA": "This torch was built without CUDA. Install one for the driver's version of CUDA.",
    r"No CUDA GPUs are available": "No GPU is visible; CUDA_VISIBLE_DEVICES may hide it.",
    r"invalid device ordinal": "There is no GPU of that number; `nvidia-smi` lists those that exist, from 0.",
    r"busy or unavailable": (
        "The GPU is busy: another process uses it exclusively (`nvidia-smi` lists them). Wait for it, or choose another"
        " one by CUDA_VISIBLE_DEVICES."
    ),
    r"no kernel image is available": (
        "This torch has no code for this GPU, which is too old or too new for it. Install another version of torch."
    ),
    r"system not yet initialized|driver initialization failed|CUDA unknown error|cudaGetDeviceCount": (
        "The NVIDIA driver cannot be initialized. Restart its services, or the machine."
    ),
    r"(?:CUDA|HIP|MPS backend|CUDA error:) out of memory": (
        "The GPU has too little free memory; other processes may use it, too (`nvidia-smi`). Use a smaller train.batch,"
        " views.size or model.width."
    ),
    r"MPS framework|for the MPS device|from the 'MPS' backend": (
        "Apple's MPS, with which codial is untested, is missing or lacks an operation; PYTORCH_ENABLE_MPS_FALLBACK=1"
        " computes single operations on the CPU."
    ),
}
_MEMORY_FAULTS = {
    r"/dev/shm|shared memory|unable to (?:open|stat|resize|stretch|write to) file </?torch_": (
        "There is no space in shared memory, /dev/shm. In a container, enlarge it (docker run --shm-size=8g, or"
        " --ipc=host); elsewhere, remove what fills it."
    ),
    r"DefaultCPUAllocator|Unable to allocate|bad_alloc|^$": (
        "There is too little free memory. Use fewer images (--limit, data.limit), a smaller train.batch, views.size or"
        " model.width, or allow the container more memory."
    ),
}
_KINDS = (RuntimeError, AssertionError, TypeError, OSError, MemoryError)


def explain_machine_error(error: BaseException) -> str | None:
    """Return in one line what is wrong with the machine and how to mend it; None for any other error."""
    text = " ".join(str(error).split())
    if not isinstance(error, _KINDS) or not (text or isinstance(error, MemoryError)):
        return None
    on_cpu = " Or use the CPU: --device cpu (train.device)."
    for pattern, message in [(key, each + on_cpu) for key, each in _GPU_FAULTS.items()] + [*_MEMORY_FAULTS.items()]:
        if found := re.search(pattern, text):
            return message.format(*found.groups())
    return None


@contextmanager
def explained_machine_errors() -> Iterator[None]:
    """Raise a CodialError in place of an error that is the machine's fault.

    Raises:
        CodialError: a GPU, its driver, its memory, or shared memory is at fault.
    """
    try:
        yield
    except _KINDS as error:
        if message := explain_machine_error(error):
            raise CodialError(message) from error
        raise
