"""Registries of what users may add: classes by name, registered by a decorator or by an installed package."""

import sys
import warnings
from collections.abc import Callable
from difflib import get_close_matches
from functools import lru_cache
from importlib import metadata
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, TypeVar

from codial.errors import CodialError

T = TypeVar("T", bound=type)


class Registry:
    """Classes of one kind by name; those of installed packages are imported on first use.

    Args:
        kind: what is registered, in the singular, such as "method".
        group: group of entry points in a package's pyproject.toml, such as "codial.methods".
        check: function of a name and a class that raises a CodialError for an unsuitable class.
    """

    def __init__(self, kind: str, group: str, check: Callable[[str, type], None] = lambda name, cls: None) -> None:
        self.kind = kind
        self.group = group
        self._check = check
        self._classes: dict[str, Any] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Return a class decorator that registers a class under a name.

        The same class may be registered again, as when a notebook cell is run twice.

        Raises:
            CodialError: the name is invalid or taken by another class, or the class is unsuitable.
        """

        def add(cls: T) -> T:
            self._require_name(name, cls)
            self._check(name, cls)
            self._require_free(name, cls)
            self._classes[name] = cls
            return cls

        return add

    def names(self) -> list[str]:
        """Return the names of all classes, without importing them."""
        return list(dict.fromkeys([*(entry.name for entry in entry_points(group=self.group)), *self._classes]))

    def get(self, name: str) -> Any:
        """Return the class of a name; it is imported on first use.

        Raises:
            CodialError: no class has this name, or it cannot be imported or is unsuitable.
        """
        if name not in self._classes:
            cls = self._load(name)  # its decorator may register it
            self._check(name, cls)
            self._classes.setdefault(name, cls)
        return self._classes[name]

    def available(self) -> dict[str, Any]:
        """Return all classes by name; those that cannot be imported are left out with a warning."""
        classes = {}
        for name in self.names():
            try:
                classes[name] = self.get(name)
            except CodialError as error:
                warnings.warn(str(error), stacklevel=2)
        return classes

    def _load(self, name: str) -> Any:
        for entry in entry_points(group=self.group, name=name):
            try:
                return entry.load()
            except CodialError:
                raise
            except Exception as error:  # whatever another package's module raises while it is imported
                package = f" of package {entry.dist.name}" if entry.dist else ""
                raise CodialError(
                    f"{self.kind.capitalize()} {name!r}{package} cannot be imported from {entry.value}"
                    f" ({type(error).__name__}: {error}). Mend or uninstall the package."
                ) from error
        raise CodialError(self.unknown(name))

    def unknown(self, name: str) -> str:
        """Return the error message for a name that no class has."""
        near = get_close_matches(str(name), self.names(), 3)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        return (
            f"There is no {self.kind} called {name!r}.{hint} Available: {', '.join(self.names())}."
            f" {self.how_to_register}"
        )

    @property
    def how_to_register(self) -> str:
        """What to do before a class of one's own can be used, for error messages."""
        return (
            f"A {self.kind} of your own must be registered first: run its cell, pass its file by `codial --plugin"
            " FILE`, or install its package."
        )

    def _require_free(self, name: str, cls: type) -> None:
        """Raise a CodialError if another class, or a class of another installed package, has the name."""
        owners = [entry.value.replace(":", ".") for entry in entry_points(group=self.group, name=name)]
        taken = [owner for owner in owners if owner.partition(".")[0] != cls.__module__.partition(".")[0]]
        if name in self._classes and identity(self._classes[name]) != identity(cls):
            taken.append(identity(self._classes[name]))
        if taken:
            raise CodialError(
                f"The {self.kind} name {name!r} is taken by {taken[0]}; register {identity(cls)} under another name."
            )

    def _require_name(self, name: str, cls: type) -> None:
        if not (isinstance(name, str) and name.isidentifier() and name == name.lower()):
            raise CodialError(
                f"The {self.kind} name {name!r} of {identity(cls)} is invalid; expected lower-case letters, digits and"
                " underscores, as in 'my_name'."
            )


def entry_points(group: str, name: str | None = None) -> list[metadata.EntryPoint]:
    """Return the entry points of installed packages, which are read again if a package was installed since."""
    entries = _entry_points(group, tuple((folder, _modified(folder)) for folder in sys.path))
    return [entry for entry in entries if name in (None, entry.name)]


@lru_cache(maxsize=16)
def _entry_points(group: str, folders: tuple[tuple[str, int], ...]) -> metadata.EntryPoints:
    """Read a group's entry points of all packages, which takes 30 ms where many are installed."""
    return metadata.entry_points(group=group)


def _modified(folder: str) -> int:
    try:
        return Path(folder).stat().st_mtime_ns
    except OSError:
        return 0


def import_file(path: str | Path) -> None:
    """Import a Python file as the module of its name, so that what it registers is available.

    Raises:
        CodialError: there is no such file, its name is taken by a module, or it raises an error.
    """
    file = Path(path).expanduser().resolve()
    if not file.is_file():
        raise CodialError(f"Plug-in {path} does not exist; expected the path of a Python file, such as my_method.py.")
    spec = spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None or not file.stem.isidentifier():
        raise CodialError(f"Plug-in {path} is no Python module; expected a name such as my_method.py.")
    if file.stem in sys.modules:
        if getattr(sys.modules[file.stem], "__file__", None) == str(file):
            return
        raise CodialError(f"Plug-in {path} has the name of a module that is in use; rename the file.")
    module = module_from_spec(spec)
    sys.modules[file.stem] = module
    try:
        spec.loader.exec_module(module)
    except CodialError as error:
        del sys.modules[file.stem]
        raise CodialError(f"Plug-in {path}: {error}") from error
    except (Exception, SystemExit) as error:  # whatever the user's file raises
        del sys.modules[file.stem]
        raise CodialError(f"Plug-in {path} cannot be imported ({type(error).__name__}: {error}).") from error


def identity(cls: Any) -> str:
    """Return module and name of a class, as "package.module.Class"."""
    return f"{cls.__module__}.{cls.__qualname__}" if isinstance(cls, type) else repr(cls)
