"""Data sets of Hugging Face, saved to disk or read from files: the same as the same images in a folder."""

import sys
import time
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
import torch
from PIL import Image

import codial
from codial.cli.main import main
from codial.data import ImageFiles, ImageSet, load_images, name_of
from codial.errors import CodialError
from codial.evaluate import ProbeConfig

SIZES = ((80, 60), (50, 70), (64, 64))  # width and height, in turn
CLASSES = ("emu", "cat", "dog")  # not sorted


@pytest.fixture(autouse=True)
def no_network_no_cache(tmp_path, monkeypatch):
    """Work in an empty folder, without the user's cache and without progress bars."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


@pytest.fixture
def files(photos) -> dict[str, list[tuple[bytes, int]]]:
    """Encoded images of several sizes, modes and orientations, with labels, of two splits."""
    images = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in photos["train"].images[:18]]
    encoded = [_encode(image.resize(SIZES[number % 3]), number) for number, image in enumerate(images)]
    pairs = [(content, number % 3) for number, content in enumerate(encoded)]
    return {"train": pairs[:12], "test": pairs[12:]}


def _encode(image: Image.Image, number: int) -> bytes:
    """Return a JPEG that lies on its side, a CMYK JPEG or a gray PNG with transparency, in turn."""
    file = BytesIO()
    if number % 3 == 0:
        exif = Image.Exif()
        exif[0x0112] = 6
        image.save(file, "JPEG", exif=exif)
    elif number % 3 == 1:
        image.convert("CMYK").save(file, "JPEG")
    else:
        image.convert("LA").save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def folder(files) -> Path:
    """The images as a folder, sorted by split and class."""
    for split, pairs in files.items():
        for number, (content, label) in enumerate(pairs):
            path = Path("pets", split, CLASSES[label], f"{number:02}.{'jpg' if number % 3 < 2 else 'png'}")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return Path("pets")


def table(pairs, **columns):
    """Return a split with images and class labels, or other columns instead of the labels."""
    import datasets

    rows = {"image": [content and {"bytes": content, "path": None} for content, _ in pairs]}
    features = {"image": datasets.Image()}
    if not columns:
        columns = {"label": ([label for _, label in pairs], datasets.ClassLabel(names=list(CLASSES)))}
    for name, (values, feature) in columns.items():
        rows[name] = values
        features[name] = feature
    return datasets.Dataset.from_dict(rows, features=datasets.Features(features))


@pytest.fixture
def saved(files) -> str:
    """The images as `save_to_disk` writes them."""
    import datasets

    datasets.DatasetDict({split: table(pairs) for split, pairs in files.items()}).save_to_disk("saved")
    return "hf:./saved"


def assert_same_as_folder(images, folder, split, size=96):
    """Compare images and names of classes as sets, since the folder is sorted by class."""
    expected = load_images(folder, split, size=size)
    assert images.image_size == expected.image_size
    pairs = [
        sorted((each.batch([i]).numpy().tobytes(), each.classes[each.labels[i]]) for i in range(len(each)))
        for each in (images, expected)
    ]
    assert pairs[0] == pairs[1]


@pytest.mark.parametrize("storage", ["memory", "files"])
@pytest.mark.parametrize(("split", "count"), [("train", 12), ("test", 6), ("all", 18)])
def test_a_saved_set_equals_the_same_files_in_a_folder(saved, folder, split, count, storage):
    images = load_images(saved, split, storage=storage, size=48)
    assert isinstance(images, ImageSet if storage == "memory" else ImageFiles)
    assert (images.name, images.split, len(images), images.classes) == ("hf-saved", split, count, CLASSES)
    assert_same_as_folder(images, folder, split, 48)


def test_folders_and_parquet_files_that_the_library_reads(files, folder):
    table(files["train"]).to_parquet("train.parquet")
    from_folder = load_images("hf:pets", "test")
    assert from_folder.classes == tuple(sorted(CLASSES))
    assert_same_as_folder(from_folder, folder, "test")
    assert_same_as_folder(load_images("hf:train.parquet"), folder, "train")
    Path("shards").mkdir()
    table(files["train"]).to_parquet("shards/train-0.parquet")
    table(files["test"]).to_parquet("shards/test-0.parquet")
    assert_same_as_folder(load_images("hf:./shards", "test", storage="files"), folder, "test")


def test_one_split_saved_alone_is_train(files, folder):
    table(files["train"]).save_to_disk("one")
    assert_same_as_folder(load_images("hf:one", "train"), folder, "train")
    with pytest.raises(CodialError, match=r"No split of hf:one 'test'\. Expected one of: train, all\."):
        load_images("hf:one", "test")


@pytest.mark.parametrize(
    ("own", "split"),
    [("validation", "test"), ("valid", "test"), ("validation", "val"), ("dev", "test"), ("testing", "test")],
)
def test_usual_names_of_splits(files, own, split):
    import datasets

    datasets.DatasetDict({"training": table(files["train"]), own: table(files["test"])}).save_to_disk("saved")
    assert load_images("hf:saved", "train").split == "training"
    images = load_images("hf:saved", split)
    assert (images.split, len(images)) == (own, 6)


def test_a_limit_takes_the_same_share_of_each_class(saved):
    images = load_images(saved, limit=6, seed=3)
    assert images.labels.bincount().tolist() == [2, 2, 2]
    everything = load_images(saved, storage="files")
    sample = everything.subset(6, seed=3)
    assert torch.equal(sample.batch(range(6)), images.images)
    assert sample.paths == [everything.paths[row] for row in sample.rows]
    assert sample.fingerprint == load_images(saved, limit=6, seed=3, storage="files").fingerprint
    assert sample.fingerprint != everything.subset(6, seed=4).fingerprint


def test_the_fingerprint_changes_with_an_image_and_with_a_label(files):
    (first, label), *others = pairs = files["train"]
    changed = {"none": pairs, "image": [(others[2][0], label), *others], "label": [(first, label + 1), *others]}
    for storage in ("memory", "files"):
        fingerprints = set()
        for name, each in changed.items():
            table(each).save_to_disk(f"{storage}-{name}")
            fingerprints.add(load_images(f"hf:{storage}-{name}", storage=storage).fingerprint)
        assert len(fingerprints) == 3


def labels_of(pairs, source="hf:saved", **columns):
    table(pairs, **columns).save_to_disk("saved")
    images = load_images(source, size=8)
    return images.labels.tolist(), images.classes


def test_columns_of_labels(files):
    import datasets
    from datasets import ClassLabel, Value

    pairs = files["train"][:4]
    pets = ClassLabel(names=["a", "b"])
    words = (["x", "b", None, "x"], Value("string"))
    assert labels_of(pairs, label=words) == ([1, 0, -1, 1], ("b", "x"))
    assert labels_of(pairs, target=([10, 9, 10, -1], Value("int32"))) == ([1, 0, 1, -1], ("9", "10"))
    assert labels_of(pairs, caption=words) == ([-1] * 4, ())
    assert labels_of(pairs, "hf:saved#label=caption", caption=words) == ([1, 0, -1, 1], ("b", "x"))
    assert labels_of(pairs, kind=([0, 1, -1, None], pets), label=words) == ([0, 1, -1, -1], ("a", "b"))
    assert labels_of(pairs, "hf:saved#label=none", kind=([0, 1, 0, 1], pets)) == ([-1] * 4, ())
    assert labels_of(pairs, "hf:saved", size=([1.5] * 4, Value("float32"))) == ([-1] * 4, ())
    two = {"fine": ([0, 1, 0, 1], pets), "coarse": ([1, 1, 0, 0], pets)}
    assert labels_of(pairs, "hf:saved#label=coarse", **two) == ([1, 1, 0, 0], ("a", "b"))
    several = ([[0], [0, 1], [], None], datasets.Sequence(pets))
    table(pairs, kinds=several).save_to_disk("saved")
    images = load_images("hf:saved", size=8)
    assert images.labels.tolist() == [-1] * 4
    assert images.tags.tolist() == [[1, 0], [1, 1], [0, 0], [-1, -1]]
    assert images.classes == ("a", "b")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "hf:saved",
            r"2 columns of labels, fine, coarse, among image \(Image\), fine \(ClassLabel\).*#label=COLUMN",
        ),
        ("hf:saved#label=kind", r"no column 'kind'; expected one of image \(Image\), fine"),
        ("hf:saved#image=photo,label=fine", "no column 'photo'; expected one of image"),
        ("hf:saved#image=caption,label=fine", "could be decoded"),  # a path
        ("hf:saved#image=score,label=fine", r"score is no column of images; expected one of image \(Image\)"),
        ("hf:saved#label=score", r"score is no column of labels; expected one of image .* score \(float32\)"),
        ("hf:saved#label", "chooses 'label'; expected hf:NAME"),
        ("hf:saved#mask=fine", "chooses 'mask=fine'; expected hf:NAME"),
        ("hf:saved,train", "no public data set of this name"),
        ("hf:", "names no data set; expected hf:NAME"),
        ("hf:./missing", r"hf:\./missing: missing does not exist; expected hf:NAME"),
        ("hf:text.csv", "is a file; expected a folder, or a file .parquet"),
        ("hf:empty", "cannot be read by datasets"),
    ],
)
def test_a_mistake_in_the_source_gets_an_error_that_names_the_choice(files, source, message):
    from datasets import ClassLabel, Value

    pets = ([0, 1, 0, 1], ClassLabel(names=["a", "b"]))
    others = {"caption": (["x", "y", "x", "z"], Value("string")), "score": ([0.5] * 4, Value("float32"))}
    table(files["train"][:4], fine=pets, coarse=pets, **others).save_to_disk("saved")
    Path("text.csv").touch()
    Path("empty").mkdir()
    with pytest.raises(CodialError, match=message):
        load_images(source)


def test_no_and_two_columns_of_images(files):
    import datasets
    from datasets import Image as ImageFeature

    rows = {"a": [{"bytes": files["train"][0][0], "path": None}], "b": [{"bytes": files["train"][1][0], "path": None}]}
    both = datasets.Dataset.from_dict(rows, features=datasets.Features(a=ImageFeature(), b=ImageFeature()))
    both.save_to_disk("both")
    with pytest.raises(CodialError, match=r"2 columns of images among a \(Image\), b \(Image\); choose one by #image"):
        load_images("hf:both")
    first, second = (load_images(f"hf:both#image={column}").images for column in "ab")
    assert not torch.equal(first, second)
    datasets.Dataset.from_dict({"text": ["x"]}).save_to_disk("text")
    with pytest.raises(CodialError, match=r"has 0 columns of images among text \(string\)"):
        load_images("hf:text")


def test_bytes_without_a_type_can_be_chosen(files, folder):
    import datasets

    contents, labels = zip(*files["train"], strict=True)
    names = [CLASSES[label] for label in labels]
    datasets.Dataset.from_dict({"jpg": list(contents), "label": names}).to_parquet("raw.parquet")
    assert_same_as_folder(load_images("hf:raw.parquet#image=jpg"), folder, "train")


def test_classes_that_differ_between_splits_are_refused(files):
    import datasets

    kinds = {"train": datasets.ClassLabel(names=["a", "b"]), "test": datasets.ClassLabel(names=["b", "a"])}
    splits = {split: table(files[split][:2], label=([0, 1], kind)) for split, kind in kinds.items()}
    datasets.DatasetDict(splits).save_to_disk("saved")
    with pytest.raises(CodialError, match="label has other classes or another type in another split"):
        load_images("hf:saved")


def test_broken_and_missing_images_are_skipped_or_replaced(files):
    pairs = list(files["train"])
    pairs[1] = (pairs[1][0][:300], 1)
    pairs[5] = (b"no image", 2)
    pairs[6] = (None, 0)
    table(pairs).save_to_disk("saved")
    with pytest.warns(UserWarning, match=r"3 of 12 images in hf:saved .*: train\[1\]: .*Truncated") as warned:
        images = load_images("hf:saved")
    assert warned[0].filename == __file__
    assert len(images) == 9
    assert [line.split(":")[0] for line in images.skipped] == ["train[1]", "train[5]", "train[6]"]
    assert images.skipped[1:] == ("train[5]: not an image of a known format", "train[6]: there is no image in this row")
    on_demand = load_images("hf:saved", storage="files")
    with pytest.warns(UserWarning, match=r"An image in hf:saved could not be decoded; another replaces it"):
        batch = on_demand.batch([5])
    assert torch.equal(batch, on_demand.batch([8]))  # the next of its class
    with pytest.raises(CodialError, match=r"hf:saved/train\[1\]: .*Repair or remove"):
        load_images("hf:saved", strict=True)


def test_threads_and_processes_decode_on_demand(saved):
    from concurrent.futures import ThreadPoolExecutor
    from pickle import dumps, loads

    images = load_images(saved, storage="files")
    expected = load_images(saved).images
    with ThreadPoolExecutor(4) as pool:
        batches = list(pool.map(images.batch, [[i, -i - 1] for i in range(12)] * 4))
    assert all(torch.equal(batch, expected[[i % 12, -(i % 12) - 1]]) for i, batch in enumerate(batches))
    assert torch.equal(loads(dumps(images)).batch(range(12)), expected)  # as a spawned process gets it


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_process_decodes_on_demand(saved):
    from torch.utils.data import DataLoader

    images = load_images(saved, storage="files")
    expected = load_images(saved).images
    numbers = list(range(12))
    loader = DataLoader(numbers, 4, collate_fn=images.batch, num_workers=1, timeout=30, multiprocessing_context="fork")
    assert torch.equal(torch.cat(list(loader)), expected)


def test_the_library_is_named_if_it_is_missing(saved, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(CodialError, match=r"need Hugging Face's library datasets: pip install 'codial\[hf\]'"):
        load_images(saved)


@pytest.mark.parametrize("offline", [False, True])
def test_a_name_of_the_hub_fails_fast_without_a_network(monkeypatch, offline):
    import datasets
    import huggingface_hub

    def unreachable(*arguments, **options):
        raise ConnectionError("no network")

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", unreachable)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", offline)
    start = time.perf_counter()
    with pytest.raises(CodialError, match=r"hf:nobody/nothing.*(cannot be reached|cannot be read)") as caught:
        load_images("hf:nobody/nothing")
    assert time.perf_counter() - start < 5
    assert offline or "ConnectionError: no network" in str(caught.value)


def test_a_hub_set_is_asked_for_with_its_configuration(files, monkeypatch):
    import datasets
    import huggingface_hub

    asked = []
    splits = datasets.DatasetDict({split: table(pairs) for split, pairs in files.items()})
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda *arguments, **options: None)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets, "load_dataset", lambda *arguments: asked.append(arguments) or splits)
    assert load_images("hf:user/set:small#label=label", "test").name == "hf-set-small-label"
    assert load_images("hf:user/set").name == "hf-set"
    assert asked == [("user/set", "small"), ("user/set", None)]


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("hf:user/set", "hf-set"),
        ("hf:set:config", "hf-set-config"),
        ("hf:./a/b/#image=x,label=y", "hf-b-y"),
        ("hf:/some/where/my set", "hf-my-set"),
        ("hf:~/sets/pets.parquet", "hf-pets.parquet"),
        ("photos", "photos"),
        ("~/images/pets", "pets"),
        (Path("a/b"), "b"),
    ],
)
def test_names_for_reports_are_names_of_files(source, name):
    assert name_of(source) == name


def test_pretraining_probe_and_check(saved, tiny, capsys):
    config = replace(tiny, data=replace(tiny.data, source=saved, limit=None, size=64))
    run = codial.pretrain(config, "run", progress=False)
    images = run.provenance["images"]
    assert (images["name"], images["split"], images["count"]) == ("hf-saved", "train", 12)
    train, test = (load_images(saved, split, size=64) for split in ("train", "test"))
    report = codial.probe(run, train, test, ProbeConfig(epochs=1), progress=False)
    assert set(report.train.split()) >= {"hf-saved/train", "12"}
    assert Path("run/evaluations/probe-hf-saved.json").is_file()
    assert main(["data", "check", saved]) == 0
    out = capsys.readouterr().out
    assert "hf-saved/train: 12 images" in out
    assert "hf-saved/test: 6 images" in out
