"""Registries of methods, backbones and loggers: a config names its method, whose file defines the method's settings.

Methods are registered by the decorator `register`, or found by entry points of the group `codial.methods`, in the
pyproject.toml of codial and of other packages; backbones by `codial.models.register_backbone` and the group
`codial.backbones`; loggers by `codial.training.register_logger` and the group `codial.loggers`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from codial.config.validation import build, coerce, require, require_choice
from codial.errors import CodialError
from codial.utils.plugins import Registry, identity

DEFAULT = "codial"  # the method of a config that names none
BACKBONE = "alexnet"  # the backbone of a config that names none
TIMM = "timm:"  # prefix of the backbones of the library timm

T = TypeVar("T", bound=type)


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
        CodialError: the name is invalid or taken by another class, or `settings` is invalid.
    """
    return METHODS.register(name)


def method_names() -> list[str]:
    """Return the names of all methods, without importing them; the first is the default."""
    return list(dict.fromkeys([DEFAULT, *METHODS.names()]))


def method_named(name: str) -> Any:
    """Return the class of a method; it is imported on first use.

    Raises:
        CodialError: there is no such method, or it cannot be imported.
    """
    return METHODS.get(name)


def methods() -> dict[str, Any]:
    """Return the classes of all methods by name; those that cannot be imported are left out with a warning."""
    available = METHODS.available()
    return {name: available[name] for name in method_names() if name in available}


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
            f"Method {name!r}: {identity(method)}.settings is {settings!r}; expected a subclass of MethodConfig."
        )
    try:
        default = settings().name
    except TypeError as error:
        raise CodialError(
            f"Method {name!r}: every field of {identity(settings)} needs a default value ({error})."
        ) from error
    require(default == name, f"{identity(settings)}.name", default, f"{name!r}, under which the method is registered")


def _check_logger(name: str, cls: type) -> None:
    """Raise a CodialError unless a class has the methods of `codial.training.Logger`."""
    missing = [method for method in ("start", "scalars", "image", "close") if not callable(getattr(cls, method, None))]
    if missing:
        raise CodialError(
            f"Logger {name!r}: {identity(cls)} lacks {', '.join(missing)}; derive it from codial.training.Logger."
        )


def require_loggers(names: tuple[str, ...]) -> None:
    """Check that there is a logger of each name, without importing it, and that no name is repeated.

    Raises:
        CodialError: there is none, or a name is repeated.
    """
    known = LOGGERS.names() if names else []
    for name in names:
        if name not in known:
            raise CodialError(f"train.loggers: {LOGGERS.unknown(name)}")
    require(len(set(names)) == len(names), "train.loggers", names, "each logger once")


def require_backbone(name: str) -> None:
    """Check that there is a backbone of a name; names of timm are checked when it is created.

    Raises:
        CodialError: there is none.
    """
    if name != BACKBONE and not name.startswith(TIMM) and name not in BACKBONES.names():
        raise CodialError(f"model.backbone: {BACKBONES.unknown(name)} timm's are called {TIMM}NAME.")


METHODS = Registry("method", "codial.methods", _check_settings)
BACKBONES = Registry("backbone", "codial.backbones")  # codial.models.build checks the classes
LOGGERS = Registry("logger", "codial.loggers", _check_logger)
