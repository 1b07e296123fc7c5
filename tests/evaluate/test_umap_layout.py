import sys
from pathlib import Path

import pytest
import torch

from codial.errors import CodialError
from codial.evaluate import agreement, project, trustworthiness


@pytest.mark.slow
def test_map_separates_two_clusters_and_is_deterministic(blobs):
    features, labels = blobs
    mapped = project(features, seed=3)
    assert mapped.shape == (80, 2)
    assert mapped.dtype == torch.float32
    assert torch.equal(project(features, seed=3), mapped)
    assert not torch.equal(project(features, seed=4), mapped)
    assert agreement(mapped, labels) == 100
    middles = torch.stack([mapped[labels == c].mean(0) for c in range(2)])
    radius = max((mapped[labels == c] - middles[c]).norm(dim=1).max() for c in range(2))
    assert (middles[0] - middles[1]).norm() > radius
    assert trustworthiness(features, mapped) > 0.7


@pytest.mark.slow
def test_umap_preserves_torchs_number_of_threads(blobs):
    """numba sets OpenMP's number of threads for the process, which would change the order of later sums."""
    before = torch.get_num_threads()
    for threads in (before + 1, before):
        torch.set_num_threads(threads)
        project(blobs[0])
        assert torch.get_num_threads() == threads


@pytest.mark.parametrize("count", [0, 1, 3])
def test_too_few_images_raise(count, blobs):
    with pytest.raises(CodialError, match=rf"^A map needs at least 4 images; there (is|are) {count}\."):
        project(blobs[0][:count])


def test_without_umap_it_says_what_to_install(blobs, monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(CodialError, match=r"^Maps need umap-learn: pip install umap-learn"):
        project(blobs[0])


@pytest.mark.slow
def test_machine_code_of_umap_is_cached_on_disk(blobs):
    """Compiling it takes 10 s in every process; reading it, a tenth of a second."""
    project(blobs[0])
    from umap import layouts, umap_

    functions = (umap_.fast_knn_indices, umap_.smooth_knn_dist, umap_.compute_membership_strengths)
    for function in (*functions, layouts._nb_optimize_layout_euclidean_single_epoch):
        assert function.signatures
        assert list(Path(function.stats.cache_path).glob(f"*{function.__name__}*.nbc")), function
