"""Names and files of data sets of Hugging Face's library `datasets`, from its hub or from this machine."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codial.errors import CodialError

PREFIX = "hf:"
INSTALL = "pip install 'codial[hf]'"

_FORM = f"{PREFIX}NAME, {PREFIX}NAME:CONFIG or {PREFIX}FOLDER, and after # its columns, as in #image=photo,label=breed"
_BUILDERS = {".parquet": "parquet", ".arrow": "arrow"}  # of single files
_TIMEOUT = 10  # seconds for the hub's first answer


@dataclass(frozen=True)
class HuggingFaceName:
    """A source such as "hf:user/set:config#image=photo,label=breed".

    Attributes:
        source: The whole of it.
        location: Name of a data set on the hub, or a folder or file of this machine.
        config: The configuration of a data set that has several; empty for its only one.
        columns: Names of the columns "image" and "label", as far as they are given.
    """

    source: str
    location: str
    config: str
    columns: Mapping[str, str]

    @property
    def path(self) -> Path:
        """The location as a path."""
        return Path(self.location).expanduser()

    @property
    def is_local(self) -> bool:
        """Whether the location is on this machine: it exists, or it starts as only paths do."""
        return self.path.exists() or self.location.startswith((".", "/", "~"))

    @property
    def absolute(self) -> str:
        """The source, with the absolute path of a folder or file that exists; "~" means the same everywhere."""
        if self.location.startswith("~") or not self.path.exists():
            return self.source
        return PREFIX + os.path.abspath(self.path) + self.source.removeprefix(PREFIX + self.location)

    @property
    def name(self) -> str:
        """Name in reports and file names, such as "hf-set-config"; a label column that was chosen is its last part."""
        last = Path(os.path.abspath(self.path)).name if self.is_local else Path(self.location).name
        parts = ("hf", last, self.config, self.columns.get("label", ""))
        return re.sub(r"[^\w.-]+", "-", "-".join(filter(None, parts)))


def parse_name(source: str) -> HuggingFaceName:
    """Split a source that starts with "hf:" into its parts.

    A folder or file of the given name is preferred to a data set of the hub.

    Raises:
        CodialError: It has another form.
    """
    location, _, choices = source.removeprefix(PREFIX).partition("#")
    config = ""
    if not Path(location).expanduser().exists():
        location, _, config = location.partition(":")
    columns = {}
    for choice in filter(None, choices.split(",")):
        key, _, column = choice.partition("=")
        if key not in ("image", "label") or not column:
            raise CodialError(f"{source} chooses {choice!r}; expected {_FORM}.")
        columns[key] = column
    if not location:
        raise CodialError(f"{source!r} names no data set; expected {_FORM}.")
    return HuggingFaceName(source, location, config, columns)


def load_splits(name: HuggingFaceName) -> dict[str, Any]:
    """Return the splits of a data set, each a `datasets.Dataset`, by their own names.

    A folder may be one that `save_to_disk` wrote, or any that `datasets.load_dataset` reads; a file, parquet or Arrow.

    Raises:
        CodialError: The library is not installed, there is no such data set or configuration, or it cannot be read.
    """
    datasets = import_datasets()
    try:
        loaded = _load_local(name) if name.is_local else _load_from_hub(name)
    except CodialError:
        raise
    except Exception as error:  # whatever the readers of a dozen formats raise
        raise CodialError(f"{name.source} cannot be read by datasets ({_describe(error)}).") from error
    return {str(loaded.split or "train"): loaded} if isinstance(loaded, datasets.Dataset) else dict(loaded)


def import_datasets() -> Any:
    """Return the module `datasets`.

    Raises:
        CodialError: It is not installed.
    """
    try:
        import datasets
    except ImportError as error:
        raise CodialError(f"Sources {PREFIX}... need Hugging Face's library datasets: {INSTALL}") from error
    return datasets


def _load_local(name: HuggingFaceName) -> Any:
    datasets = import_datasets()
    path = name.path
    if not path.exists():
        raise CodialError(f"{name.source}: {path} does not exist; expected {_FORM}.")
    if path.is_file():
        if path.suffix not in _BUILDERS:
            raise CodialError(f"{name.source} is a file; expected a folder, or a file {' or '.join(_BUILDERS)}.")
        return datasets.load_dataset(_BUILDERS[path.suffix], data_files=str(path))
    if any((path / file).is_file() for file in ("dataset_dict.json", "state.json")):  # written by save_to_disk
        return datasets.load_from_disk(str(path))
    return datasets.load_dataset(str(path.resolve()), name.config or None)


def _load_from_hub(name: HuggingFaceName) -> Any:
    from huggingface_hub import HfApi, constants, errors

    datasets = import_datasets()
    if constants.HF_HUB_OFFLINE:
        return datasets.load_dataset(name.location, name.config or None)
    try:  # asks once, where load_dataset would try for half a minute
        HfApi().dataset_info(name.location, timeout=_TIMEOUT)
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
        raise CodialError(
            f"{name.source}: there is no folder {name.location}, and no public data set of this name on"
            " huggingface.co (for a private one, run `hf auth login`)."
        ) from error
    except Exception as error:  # the network's, of whichever library huggingface_hub uses
        raise CodialError(
            f"{name.source}: there is no folder {name.location}, and huggingface.co cannot be reached"
            f" ({_describe(error)}). Try again with a network, or set HF_HUB_OFFLINE=1 to read a"
            " copy that was downloaded before."
        ) from error
    return datasets.load_dataset(name.location, name.config or None)


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
