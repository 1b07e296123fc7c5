import pytest
import torch


@pytest.fixture(scope="module")
def blobs(seed):
    """Noisy vectors of two clusters in ten dimensions, and their cluster labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(80) % 2
    centers = 3 * torch.nn.functional.normalize(torch.randn(2, 10, generator=generator), dim=1)
    lengths = 1 + 5 * torch.rand(80, 1, generator=generator)
    return lengths * (centers[labels] + 0.4 * torch.randn(80, 10, generator=generator)), labels
