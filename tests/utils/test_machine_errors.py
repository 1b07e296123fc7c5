"""Faults of the machine get one plain line each; the texts are those of torch 2.14, NumPy and NCCL."""

import pytest
import torch

from codial.errors import CodialError
from codial.utils.machine_errors import explain_machine_error, explained_machine_errors

CUDA = """
Search for `cudaErrorX' in https://docs.nvidia.com/cuda/cuda-runtime-api/group__CUDART__TYPES.html for more information.
CUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace below might be incorrect.
For debugging consider passing CUDA_LAUNCH_BLOCKING=1
Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.
"""
OLD = (
    "The NVIDIA driver on your system is too old (found version {}). Please update your GPU driver by downloading and"
    " installing a new version from the URL: http://www.nvidia.com/Download/index.aspx Alternatively, go to:"
    " https://pytorch.org to install a PyTorch version that has been compiled with your version of the CUDA driver."
)
FULL = (
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 7.79 GiB of which 12.56 MiB is free."
    " Process 4242 has 7.5 GiB memory in use. If reserved but unallocated memory is large try setting"
    " PYTORCH_ALLOC_CONF=expandable_segments:True to avoid fragmentation."
)
NCCL = (
    "NCCL error in: ProcessGroupNCCL.cpp:3353, unhandled system error (run with NCCL_DEBUG=INFO for details)\nLast"
    " error:\nError while creating shared memory segment /dev/shm/nccl-W8vGhb (size 33030532), error: No space left on"
    " device (28)"
)
FAULTS = [
    (RuntimeError(OLD.format(11040)), "driver is too old for this torch: it supports CUDA 11.4 at most"),
    (RuntimeError(OLD.format(12020)), "CUDA 12.2 at most"),
    (RuntimeError(OLD.format(9000)), "CUDA 9.0 at most"),
    (RuntimeError("Found no NVIDIA driver on your system. Please check"), "There is no NVIDIA driver"),
    (AssertionError("Torch not compiled with CUDA enabled"), "built without CUDA"),
    (RuntimeError("No CUDA GPUs are available"), "CUDA_VISIBLE_DEVICES may hide it"),
    (torch.AcceleratorError(f"CUDA error: CUDA-capable device(s) is/are busy or unavailable{CUDA}"), "GPU is busy"),
    (RuntimeError(f"CUDA error: all CUDA-capable devices are busy or unavailable{CUDA}"), "GPU is busy"),
    (RuntimeError(f"CUDA error: invalid device ordinal{CUDA}"), "no GPU of that number"),
    (RuntimeError(f"CUDA error: no kernel image is available for execution on the device{CUDA}"), "has no code"),
    (RuntimeError(f"CUDA error: out of memory{CUDA}"), "too little free memory; other processes may use it"),
    (torch.OutOfMemoryError(FULL), "too little free memory; other processes may use it"),
    (RuntimeError("Unexpected error from cudaGetDeviceCount(). Error 802: system not yet initialized"), "start"),
    (TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64."), "MPS"),
    (RuntimeError(NCCL), "no space in shared memory, /dev/shm"),
    (RuntimeError("unable to write to file </torch_77_1_0>: No space left on device (28)"), "no space in shared"),
    (RuntimeError("unable to allocate shared memory(shm) for file </torch_7>: Success (0)"), "docker run --shm-size"),
    (RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's workers"
                  " are out of shared memory. Please try to raise your shared memory limit."), "docker run --shm-size"),
    (OSError(28, "No space left on device", "/dev/shm/pymp-1"), "no space in shared memory"),
    (RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"
                  " to allocate 40000000000 bytes. Error code 12 (Cannot allocate memory)"), "too little free memory"),
    (MemoryError(), "too little free memory"),
    (MemoryError("Unable to allocate 711. GiB for an array"), "too little free memory"),
]  # fmt: skip


@pytest.mark.parametrize(("error", "expected"), FAULTS, ids=lambda value: str(value)[:40] or "MemoryError")
def test_a_fault_of_the_machine_is_one_line_with_a_mend(error, expected):
    with pytest.raises(CodialError) as caught, explained_machine_errors():
        raise error
    message = str(caught.value)
    assert expected in message
    assert "\n" not in message
    assert message.endswith((".", ")"))
    assert caught.value.__cause__ is error


def test_real_faults_of_this_machine():
    for fault in (lambda: torch.empty(10**16), lambda: torch.empty(10**16).numpy()):
        with pytest.raises(CodialError, match="too little free memory"), explained_machine_errors():
            fault()
    if not torch.cuda.is_available():
        with pytest.raises(CodialError, match=r"NVIDIA driver|without CUDA"), explained_machine_errors():
            torch.empty(0, device="cuda")


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"),
        RuntimeError(),
        TypeError("unsupported operand type(s)"),
        OSError(28, "No space left on device", "/data/run"),
        ValueError("CUDA out of memory"),
        KeyError("MPS framework"),
    ],
    ids=repr,
)
def test_other_errors_are_raised_as_they_are(error):
    assert explain_machine_error(error) is None
    with pytest.raises(type(error)) as caught, explained_machine_errors():
        raise error
    assert caught.value is error
