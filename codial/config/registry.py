"""Registry of methods: a config names its method, whose file defines the method's settings.

Methods are registered by the decorator `register`, or found by entry points of the group `codial.methods`, in the
pyproject.toml of codial and of other packages.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any, TypeVar

from codial.config.validation import build, coerce, require, require_choice
from codial.errors import CodialError

DEFAULT = "codial"  # the method of a config that names none
GROUP = "codial.methods"

T = TypeVar("T", bound=type)
_registered: dict[str, Any] = {}


@dataclass(frozen=True)
class MethodConfig:
    """Base class of the settings of a method; `name` identifies the method."""

    name: str = ""

    def __post_init__(self) -> None:
        coerce(self, "method.")
        require_choice("method.name", self.name, (type(self).name,))

    @property
    def input(self) -> str:
        """The backbone's input: `rgb`, `lab` (lightness and color in two halves) or `sobel` (gradients)."""
        return "rgb"

    def check(self, config: Any) -> None:
        """Check that the rest of a `codial.Config` suits the method.

        Raises:
            CodialError: A setting does not suit the method.
        """


def register(name: str) -> Callable[[T], T]:
    """Return a class decorator that registers a method under a name.

    The class is a `codial.methods.Method`. Its attribute `settings` is a frozen dataclass derived from `MethodConfig`
    with a default for every field; the default of `name` is the method's name.

    Raises:
        CodialError: the name is taken by another class, or `settings` is invalid.
    """

    def add(method: T) -> T:
        _check_settings(name, method)
        taken = _registered.get(name)
        if taken is not None and _identity(taken) != _identity(method):
            raise CodialError(
                f"The method name {name!r} is taken by {_identity(taken)}; register {_identity(method)} under another."
            )
        _registered[name] = method
        return method

    return add


def method_names() -> list[str]:
    """Return the names of all methods, without importing them."""
    return list(dict.fromkeys([DEFAULT, *(entry.name for entry in entry_points(group=GROUP)), *_registered]))


def method_named(name: str) -> Any:
    """Return the class of a method; it is imported on first use.

    Raises:
        CodialError: there is no such method, or it cannot be imported.
    """
    if name not in _registered and name in method_names():
        (entry, *_) = entry_points(group=GROUP, name=name)
        try:
            register(name)(entry.load())
        except ImportError as error:
            raise CodialError(f"Method {name!r} cannot be imported from {entry.value} ({error}).") from error
    if name not in _registered:  # listing all names is slow
        require(False, "method.name", name, "one of " + ", ".join(method_names()))
    return _registered[name]


def method_config(values: Any) -> MethodConfig:
    """Create the settings of a method from a mapping; without `name` it is the default method.

    Raises:
        CodialError: there is no such method, or a setting is unknown or invalid.
    """
    require(isinstance(values, Mapping), "method", values, "a mapping from names to values")
    name = values.get("name", DEFAULT)
    require(isinstance(name, str), "method.name", name, "the name of a method")
    return build(method_named(name).settings, values, "method.")


def _check_settings(name: str, method: type) -> None:
    """Raise a CodialError unless the settings of a method can be created from defaults and carry its name."""
    settings = getattr(method, "settings", None)
    if not (isinstance(settings, type) and issubclass(settings, MethodConfig)):
        raise CodialError(
            f"Method {name!r}: {_identity(method)}.settings is {settings!r}; expected a subclass of MethodConfig."
        )
    try:
        default = settings().name
    except TypeError as error:
        raise CodialError(
            f"Method {name!r}: every field of {_identity(settings)} needs a default value ({error})."
        ) from error
    require(default == name, f"{_identity(settings)}.name", default, f"{name!r}, under which the method is registered")


def _identity(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
