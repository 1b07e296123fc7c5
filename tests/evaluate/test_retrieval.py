import math
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

import codial
from codial.data import ImageSet
from codial.data.base import stratified_indices
from codial.errors import CodialError
from codial.evaluate import nearest, queries_to_show
from codial.evaluate.retrieval import MIN_CONTRAST, nearest_others
from codial.models import AlexNet


def brute_force(gallery, queries, k):
    """Compute all cosine similarities in float64."""
    gallery, queries = (x.double().numpy() for x in (gallery, queries))
    gallery, queries = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (gallery, queries))
    similarity = queries @ gallery.T
    order = np.argsort(-similarity, axis=1)[:, :k]
    return np.take_along_axis(similarity, order, 1), order


@pytest.fixture(params=["faiss", "torch"])
def backend(request, monkeypatch):
    if request.param == "torch":
        monkeypatch.setitem(sys.modules, "faiss", None)  # importing it now fails
    else:
        pytest.importorskip("faiss")
    return request.param


@pytest.mark.parametrize("k", [1, 7, 200])
def test_nearest_matches_brute_force(k, backend, generator):
    gallery, queries = torch.randn(200, 24, generator=generator), torch.randn(1500, 24, generator=generator)
    similarity, indices = nearest(gallery, queries, k)
    expected, order = brute_force(gallery, queries, k)
    np.testing.assert_allclose(similarity.numpy(), expected, atol=1e-5)
    assert (indices.numpy() == order).mean() > 0.999, "except for ties within rounding"
    assert (similarity.dtype, indices.dtype) == (torch.float32, torch.int64)


def test_nearest_ignores_vector_length(backend, generator):
    gallery = torch.randn(50, 24, generator=generator)
    similarity, indices = nearest(gallery, gallery * torch.rand(50, 1, generator=generator) * 1e-4, 3)
    assert torch.equal(indices[:, 0], torch.arange(50))
    torch.testing.assert_close(similarity[:, 0], torch.ones(50))
    assert (similarity.diff(dim=1) <= 0).all()


@pytest.mark.parametrize("layer", ["conv3", "fc7"])
def test_retrieve_matches_brute_force(layer, backend, tiny_run, photos):
    backbone = tiny_run.backbone()
    gallery, queries = photos["train"], photos["test"]
    found = codial.retrieve(backbone, gallery, queries, k=5, layer=layer, progress=False)
    vectors = [codial.features(backbone, images, layer, progress=False) for images in (gallery, queries)]
    expected, _ = brute_force(*vectors, 5)
    np.testing.assert_allclose(found.similarity.numpy(), expected, atol=1e-5)
    same = gallery.labels.numpy()[found.indices.numpy()] == queries.labels.numpy()[:, None]
    assert np.array_equal(found.relevant.numpy(), same)
    assert found.precision == pytest.approx(100 * same.mean())
    by_run = codial.retrieve(tiny_run, gallery, queries, k=5, layer=layer, progress=False, device="cpu")
    assert torch.equal(by_run.indices, found.indices)


def test_images_of_the_gallery_do_not_retrieve_themselves(backend, tiny_run, photos):
    backbone, images = tiny_run.backbone(), photos["test"]
    found = codial.retrieve(backbone, images, replace(images, name="copy"), k=4, progress=False)
    vectors = torch.nn.functional.normalize(codial.features(backbone, images, progress=False), dim=1)
    similarity = (vectors @ vectors.T).fill_diagonal_(-2)
    torch.testing.assert_close(found.similarity, similarity.topk(4).values)
    assert not (found.indices == torch.arange(160).unsqueeze(1)).any()
    part = photos["test"].subset(80)
    first = codial.retrieve(backbone, images, part, k=1, progress=False)  # other images, though of the same data set
    assert first.similarity.min() > 0.9999


def test_100_000_images_are_searched(backend, generator):
    vectors = torch.randn(100_000, 16, generator=generator)
    queries = vectors[:40] + 0.01 * torch.randn(40, 16, generator=generator)
    similarity, indices = nearest(vectors, queries, 7)
    expected, order = brute_force(vectors, queries, 7)
    np.testing.assert_allclose(similarity.numpy(), expected, atol=1e-5)
    assert (indices.numpy() == order).mean() > 0.98, "except for ties within rounding"
    assert indices[:, 0].tolist() == list(range(40))


def test_identical_vectors_are_not_their_own_neighbors(backend):
    similarity, indices = nearest_others(torch.ones(12, 4), 3)
    assert not (indices == torch.arange(12).unsqueeze(1)).any()
    torch.testing.assert_close(similarity, torch.ones(12, 3))


def test_random_weights_retrieve_above_chance(photos, seed):
    torch.manual_seed(seed)
    backbone = AlexNet(codial.preset("codial/photos").model, 48).eval()
    found = codial.retrieve(backbone, photos["train"], photos["test"], k=7, progress=False)
    assert found.precision > 25  # chance is an eighth, 12.5
    assert found.indices.shape == (160, 7)


def test_unlabeled_images_are_not_relevant(tiny_run, few):
    unlabeled = ImageSet("mine", "all", few.images, torch.full((24,), -1), ())
    for gallery, queries in ((unlabeled, few), (few, unlabeled), (unlabeled, unlabeled)):
        found = codial.retrieve(tiny_run, gallery, queries, k=2, progress=False, device="cpu")
        assert not found.relevant.any()
        assert math.isnan(found.precision)


def test_unlabeled_gallery_writes_no_report(tiny_run, few, tmp_path):
    """Also if it has the name of a labeled dataset, as STL-10's unlabeled split, or if a single label is missing."""
    shutil.copytree(tiny_run.folder, tmp_path / "run")
    run = codial.open_run(tmp_path / "run")
    options = {"k": 2, "progress": False, "device": "cpu"}
    codial.retrieve(run, few, few, **options)
    reports = {path: path.read_bytes() for path in (run.folder / "evaluations").glob("retrieval-*")}
    assert reports
    for missing in (few.labels >= 0, torch.arange(len(few)) == 3):
        gallery = replace(few, split="unlabeled", labels=few.labels.masked_fill(missing, -1))
        assert math.isnan(codial.retrieve(run, gallery, few, **options).precision)
    assert {path: path.read_bytes() for path in (run.folder / "evaluations").glob("retrieval-*")} == reports


def test_unlabeled_queries_are_ignored_in_precision(tiny_run, few, photos):
    labels = few.labels.clone()
    labels[::2] = -1
    queries = ImageSet("mine", "all", few.images, labels, few.classes)
    gallery, options = photos["test"], {"k": 2, "progress": False, "device": "cpu"}
    some, every = (codial.retrieve(tiny_run, gallery, each, **options) for each in (queries, few))
    assert not some.relevant[::2].any()
    assert some.precision == pytest.approx(100 * float(every.relevant[1::2].float().mean()))


@pytest.mark.parametrize("seed", range(3))
def test_queries_of_a_figure_show_something_and_are_stratified(seed):
    """One of three test patches of the pagoda is plain sky."""
    queries = codial.load_images("photos", "test")
    contrast = queries.images.numpy().mean(1).std((1, 2), ddof=1)
    sample = stratified_indices(queries.labels, 16, seed).tolist()
    shown = queries_to_show(queries, 16, seed)
    assert (contrast[sample] < MIN_CONTRAST).any()
    assert (contrast[shown] >= MIN_CONTRAST).all()
    assert shown == sorted(set(shown))
    assert queries.labels[shown].bincount().tolist() == [2] * 8
    assert {i for i in sample if contrast[i] >= MIN_CONTRAST} <= set(shown)


def test_flat_queries_are_shown_where_there_are_no_others(few):
    flat = replace(few, images=few.images * 0 + 7)
    assert queries_to_show(flat, 5, seed=2) == stratified_indices(flat.labels, 5, 2).tolist()
    assert queries_to_show(flat, 99) == list(range(24))
    with pytest.raises(CodialError, match="limit is 0"):
        queries_to_show(flat, 0)


def test_different_classes_raise(tiny_run, few):
    other = replace(few, classes=tuple(reversed(few.classes)), name="other")
    with pytest.raises(CodialError, match=r"^The classes differ: \('astronaut', .* in photos, \('tissue', .* in other"):
        codial.retrieve(tiny_run, few, other, k=2, progress=False)


@pytest.mark.parametrize("k", [0, -1, 25])
def test_k_out_of_range_raises(k, tiny_run, few):
    with pytest.raises(CodialError, match=rf"^k is {k}; expected 1 to 24, the size of the gallery\."):
        codial.retrieve(tiny_run, few, few.subset(5), k=k, progress=False)
    with pytest.raises(CodialError, match=rf"^k is {k}; expected 1 to 23, the size of the gallery without the query"):
        codial.retrieve(tiny_run, few, few, k=k, progress=False)
