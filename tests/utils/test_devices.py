import psutil
import torch

from codial.utils.devices import describe_device, free_memory, uses_bf16


def test_a_device_is_described_with_its_precision():
    cpu = torch.device("cpu")
    assert describe_device(cpu, "bf16").endswith("threads), bf16")
    assert describe_device(cpu, "auto") == describe_device(cpu, "bf16" if uses_bf16("auto", cpu) else "float32")


def test_free_memory_is_part_of_the_total():
    assert 0 < free_memory(torch.device("cpu")) < psutil.virtual_memory().total
