"""The device that "auto" takes, why a GPU cannot be used, names, and free memory."""

import warnings

import psutil
import pytest
import torch

from codial.errors import CodialError
from codial.utils import devices
from codial.utils.devices import choose_device, describe_device, float64_on, free_memory, unusable_gpu, uses_bf16

OLD = "The NVIDIA driver on your system is too old (found version 11040). Please update your GPU driver"
BUSY = "CUDA error: CUDA-capable device(s) is/are busy or unavailable\nCUDA kernel errors might be asynchronously"


def fail(message, kind=RuntimeError):
    def raise_it(*_, **__):
        raise kind(message)

    return raise_it


@pytest.fixture
def gpu(tmp_path, monkeypatch):
    """A machine with the device file of an NVIDIA GPU, which is not hidden."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/nvidia0").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_auto_is_cuda_then_mps_then_the_cpu(cuda, mps, expected, monkeypatch):
    monkeypatch.setattr(devices, "has_cuda", lambda: cuda)
    monkeypatch.setattr(devices, "unusable_gpu", lambda: "")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    monkeypatch.setattr(torch, "ones", lambda _, device: type("Tensor", (), {"device": torch.device(device)}))
    with warnings.catch_warnings(record=True) as caught:
        assert choose_device("auto").type == expected
    assert ["untested" in str(each.message) for each in caught] == [True] * (expected == "mps")


def test_auto_says_why_a_gpu_is_not_used(gpu, monkeypatch):
    monkeypatch.setattr(devices, "has_cuda", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "init", fail(OLD))
    with pytest.warns(
        UserWarning, match=r"The GPU cannot be used, the CPU is\. The NVIDIA driver is too old .* CUDA 11\.4"
    ):
        assert choose_device("auto").type == "cpu"


def test_auto_does_not_train_on_the_cpu_because_a_gpu_is_busy(monkeypatch):
    monkeypatch.setattr(devices, "has_cuda", lambda: True)
    monkeypatch.setattr(torch, "ones", fail(BUSY))
    with pytest.raises(CodialError, match=r"train\.device is 'auto', which is not available .*: The GPU is busy.*cpu"):
        choose_device("auto")


@pytest.mark.parametrize(
    ("message", "kind", "expected"),
    [
        (OLD, RuntimeError, "too old"),
        ("Found no NVIDIA driver on your system.", RuntimeError, "no NVIDIA driver"),
        ("Torch not compiled with CUDA enabled", AssertionError, "built without CUDA"),
        ("something else\nin two lines", RuntimeError, "something else in two lines"),
    ],
)
def test_an_unusable_gpu_has_a_reason(message, kind, expected, gpu, monkeypatch):
    monkeypatch.setattr(torch.cuda, "init", fail(message, kind))
    assert expected in unusable_gpu(gpu)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # hidden on purpose
    assert unusable_gpu(gpu) == ""


def test_a_machine_without_a_gpu_is_silent(tmp_path, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for message, kind in [
        ("Found no NVIDIA driver on", RuntimeError),
        ("Torch not compiled with CUDA", AssertionError),
    ]:
        monkeypatch.setattr(torch.cuda, "init", fail(message, kind))
        assert unusable_gpu(tmp_path) == ""


@pytest.mark.parametrize("name", ["cuda:99", "mps", "gpu", "xla", ""])
def test_a_device_that_does_not_exist_is_named_in_one_line(name):
    with pytest.raises(CodialError, match=rf"train\.device is {name!r}, which is not available on this machine: ") as e:
        choose_device(name)
    assert "\n" not in str(e.value)
    assert len(str(e.value)) < 400


def test_a_device_is_described_with_its_precision():
    cpu = torch.device("cpu")
    assert describe_device(cpu, "bf16").endswith("threads), bf16")
    assert describe_device(cpu, "auto") == describe_device(cpu, "bf16" if uses_bf16("auto", cpu) else "float32")
    assert describe_device(torch.device("mps"), "auto") == "mps, float32"


def test_free_memory_is_part_of_the_total():
    assert 0 < free_memory(torch.device("cpu")) < psutil.virtual_memory().total


def test_mps_has_no_float64():
    assert float64_on(torch.device("mps")) == torch.float32
    assert float64_on(torch.device("cpu")) == torch.float64
