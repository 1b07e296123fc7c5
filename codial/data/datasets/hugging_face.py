"""Data sets of Hugging Face's library `datasets`: `hf:NAME` reads an image column and a label column.

The images stay encoded until codial decodes them, so that orientation, color modes and damage are handled as in files.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Self, Unpack

import torch
from torch import Tensor

from codial.data.base import Dataset
from codial.data.checks import unknown_name
from codial.data.file_list import DEFAULT_SIZE, LoadOptions, stored
from codial.data.io.decode import File
from codial.data.io.hugging_face import HuggingFaceName, import_datasets, load_splits, parse_name
from codial.data.on_disk import ImageFiles, size_in_bytes
from codial.errors import CodialError

LABEL_COLUMNS = ("label", "labels", "class", "category", "target")  # read as labels although they are plain values
ALL = "all"  # the split of all images
UNLABELED = "none"  # "#label=none" ignores all labels

_PLAIN = ("string", "large_string", "bool", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)))
_SPLIT_NAMES = {  # names under which a split is looked for, in this order
    "train": ("train", "training"),
    "val": ("val", "validation", "valid", "dev"),
    "test": ("test", "testing", "val", "validation", "valid", "dev"),
}


class Labels(NamedTuple):
    """Labels of a data set, as in `Dataset`."""

    labels: Tensor
    classes: tuple[str, ...] = ()
    tags: Tensor | None = None


@dataclass(frozen=True, eq=False, repr=False)
class EncodedImages(ImageFiles):
    """Images in a table, each decoded whenever it is requested; `paths` are names such as "train[12]".

    Attributes:
        table: A `datasets.Dataset` in Arrow format whose only column is images that are not decoded.
        rows: Number of each image's row.
    """

    table: Any = None
    rows: Sequence[int] = ()

    def file(self, index: int) -> File:
        """Return a function that reads the file of an image."""
        return partial(_read_row, self.table, self.rows[index])

    def _sizes_in_bytes(self) -> Iterable[int]:
        sizes = list(_row_sizes(self.table))
        return (sizes[row] for row in self.rows)

    def _select(self, indices: Tensor) -> Self:
        return replace(super()._select(indices), rows=[self.rows[index] for index in indices.tolist()])


def read(source: str, split: str, **options: Unpack[LoadOptions]) -> Dataset:
    """Read a split of a data set, or "all" splits in one.

    Labels are the only column of class labels, or a column of strings or whole numbers that has one of the names
    `LABEL_COLUMNS`, whose sorted values are the classes (but -1 is no label); a column of lists of class labels becomes
    tags. Without such a column all labels are -1.

    Args:
        source: "hf:NAME", "hf:NAME:CONFIG" or "hf:FOLDER", with "#image=COLUMN,label=COLUMN" to choose columns.
        split: A split of the data set, or "all". "train", "val" and "test" also stand for usual other names, and
            "test" for a validation split where there is no other.
        options: Those of `codial.data.file_list.from_paths`; `size` is 96 by default.

    Returns:
        The data set; `classes` are the same for every split.

    Raises:
        CodialError: The library `datasets` is missing, there is no such data set or split, a column is missing or
            ambiguous, or no image can be decoded; with `strict`, one cannot.
    """
    name = parse_name(source)
    splits = load_splits(name)
    return _read_split(name, splits, _own_name(split, splits, source), options)


def splits_of(source: str) -> tuple[str, ...]:
    """Return the names of the splits of a data set.

    Raises:
        CodialError: It cannot be loaded.
    """
    return tuple(load_splits(parse_name(source)))


def _read_split(name: HuggingFaceName, splits: Mapping[str, Any], own_name: str, options: LoadOptions) -> Dataset:
    used = splits if own_name == ALL and ALL not in splits else {own_name: splits[own_name]}
    size, limit = options.get("size"), options.get("limit")
    labels, classes, tags = _labels(used, splits, name)
    files = EncodedImages(
        name.name,
        own_name,
        Path(name.source),
        [f"{each}[{row}]" for each, table in used.items() for row in range(len(table))],
        labels,
        classes,
        DEFAULT_SIZE if size is None else size,
        options.get("strict", False),
        tags,
        table=_images(used, _image_column(_features(splits), name), name),
        rows=range(len(labels)),
    )
    if not len(files):
        raise CodialError(f"{name.source} has no image in its split {own_name!r}; choose another split.")
    files = files if limit is None else files.subset(limit, options.get("seed", 0))
    return stored(files, options.get("storage", "auto"))


def _own_name(split: str, splits: Mapping[str, Any], source: str) -> str:
    """Return the data set's own name of a split, or "all"."""
    for name in (split, *_SPLIT_NAMES.get(split, ())):
        if name in splits or name == ALL:
            return name
    raise unknown_name(f"split of {source}", split, (*splits, ALL))


def _features(splits: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of all splits with their types."""
    return {column: feature for table in splits.values() for column, feature in table.features.items()}


def _image_column(features: Mapping[str, Any], name: HuggingFaceName) -> str:
    if "image" in name.columns:
        return _require_column(name.columns["image"], features, name)
    found = [column for column, feature in features.items() if isinstance(feature, import_datasets().Image)]
    if len(found) != 1:
        raise CodialError(
            f"{name.source} has {len(found)} columns of images among {_listed(features)}; choose one by #image=COLUMN."
        )
    return found[0]


def _label_column(features: Mapping[str, Any], name: HuggingFaceName) -> str | None:
    """Return the column of labels, or None if there is none."""
    if "label" in name.columns:
        column = name.columns["label"]
        return None if column == UNLABELED else _require_column(column, features, name)
    class_label = import_datasets().ClassLabel
    single = [column for column, feature in features.items() if isinstance(feature, class_label)]
    plain = [column for column in LABEL_COLUMNS if getattr(features.get(column), "dtype", "") in _PLAIN]
    several = [column for column, feature in features.items() if _is_tags(feature)]
    found = single or plain or several
    if len(found) > 1:
        raise CodialError(
            f"{name.source} has {len(found)} columns of labels, {', '.join(found)}, among {_listed(features)}; choose"
            f" one by #label=COLUMN, or #label={UNLABELED}."
        )
    return found[0] if found else None


def _require_column(column: str, features: Mapping[str, Any], name: HuggingFaceName) -> str:
    if column not in features:
        raise CodialError(f"{name.source}: there is no column {column!r}; expected one of {_listed(features)}.")
    return column


def _listed(features: Mapping[str, Any]) -> str:
    """Return columns with their types, as in "image (Image), label (string)"."""
    value = import_datasets().Value
    kinds = {
        column: each.dtype if isinstance(each, value) else type(each).__name__ for column, each in features.items()
    }
    return ", ".join(f"{column} ({kind})" for column, kind in kinds.items())


def _is_tags(feature: Any) -> bool:
    return isinstance(getattr(feature, "feature", None), import_datasets().ClassLabel)


def _labels(used: Mapping[str, Any], splits: Mapping[str, Any], name: HuggingFaceName) -> Labels:
    """Return the labels of the splits that are used; their classes are those of all splits."""
    features = _features(splits)
    column = _label_column(features, name)
    count = sum(map(len, used.values()))
    if column is None:
        return Labels(torch.full((count,), -1))
    feature = features[column]
    if any(table.features.get(column, feature) != feature for table in splits.values()):
        raise CodialError(f"{name.source}: {column} has other classes or another type in another split.")
    values = [value for table in used.values() for value in _values(table, column)]
    if _is_tags(feature):
        return Labels(torch.full((count,), -1), tuple(feature.feature.names), _tags(values, len(feature.feature.names)))
    if isinstance(feature, import_datasets().ClassLabel):
        labels = [-1 if value is None else value for value in values]
        return Labels(torch.tensor(labels, dtype=torch.int64), tuple(feature.names))
    if getattr(feature, "dtype", None) not in _PLAIN:
        raise CodialError(f"{name.source}: {column} is no column of labels; expected one of {_listed(features)}.")
    known = sorted({value for table in splits.values() for value in _values(table, column)} - {None, -1})
    label_of = {value: label for label, value in enumerate(known)} | {None: -1, -1: -1}
    return Labels(torch.tensor([label_of[value] for value in values], dtype=torch.int64), tuple(map(str, known)))


def _tags(lists: Sequence[Sequence[int] | None], classes: int) -> Tensor:
    """Return lists of classes as [N, classes] int8; -1 in the row of an image without a list."""
    tags = torch.zeros((len(lists), classes), dtype=torch.int8)
    for row, present in enumerate(lists):
        if present is None:
            tags[row] = -1
        else:
            tags[row, list(present)] = 1
    return tags


def _values(table: Any, column: str) -> list[Any]:
    """Return the values of a column; None for every row if a split lacks it."""
    if column not in table.features:
        return [None] * len(table)
    return list(table.select_columns([column]).with_format("arrow")[:][column].to_pylist())


def _images(splits: Mapping[str, Any], column: str, name: HuggingFaceName) -> Any:
    """Return the column of images of some splits, one below the other and not decoded, in Arrow format."""
    datasets = import_datasets()
    try:
        tables = [
            table.select_columns([column]).cast_column(column, datasets.Image(decode=False))
            for table in splits.values()
        ]
    except Exception as error:  # Arrow's many
        listed = _listed(_features(splits))
        raise CodialError(f"{name.source}: {column} is no column of images; expected one of {listed}.") from error
    return datasets.concatenate_datasets(tables).with_format("arrow")


def _read_row(table: Any, row: int) -> bytes:
    """Return the bytes of an image file in a table, or of the file to which the table refers."""
    value = table[row].column(0)[0].as_py() or {}
    if value.get("bytes") is not None:
        return bytes(value["bytes"])
    if value.get("path") is None:
        raise ValueError("there is no image in this row")
    return Path(value["path"]).read_bytes()


def _row_sizes(table: Any) -> Iterator[int]:
    """Yield the size of every image file in bytes, without reading the files in the table; -1 where there is none."""
    import pyarrow.compute as arrow

    for batch in table.iter(batch_size=1000):
        images = batch.column(0)
        paths = arrow.struct_field(images, "path").to_pylist()
        for size, path in zip(arrow.binary_length(arrow.struct_field(images, "bytes")).to_pylist(), paths, strict=True):
            yield size_in_bytes(path or "") if size is None else size
