"""The config of a run: frozen dataclasses, read from and written to JSON, and overridden by dotted keys.

A config is validated whenever it is created, read or overridden: an unknown key, a wrong type or a value out of range
raises a `CodialError`.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from codial.config.registry import DEFAULT, MethodConfig, method_config
from codial.config.sections import DataConfig, ModelConfig, TrainConfig, ViewsConfig
from codial.config.validation import build, coerce, require, unknown_setting
from codial.errors import CodialError


@dataclass(frozen=True)
class Config:
    """All settings of one run.

    `method` may be a mapping whose `name` selects the method.
    """

    name: str = DEFAULT  # label in tables and plots
    seed: int = 0
    data: DataConfig = field(default_factory=DataConfig)
    views: ViewsConfig = field(default_factory=ViewsConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    method: MethodConfig = field(default_factory=lambda: method_config({}))
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        if not isinstance(self.method, MethodConfig):
            object.__setattr__(self, "method", method_config(self.method))
        coerce(self, "")
        require(self.seed >= 0, "seed", self.seed, "0 or more")
        self.method.check(self)


def to_dict(config: Any) -> dict[str, Any]:
    """Return a config as nested dictionaries that JSON can represent."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def from_dict(values: Mapping[str, Any]) -> Config:
    """Create a config from the output of `to_dict`; missing keys take their defaults.

    Raises:
        CodialError: a key is unknown, or a value has the wrong type or is out of range.
    """
    return build(Config, values, "")


def config_hash(config: Config | Mapping[str, Any]) -> str:
    """Return twelve hexadecimal digits that identify all settings but the run's name and its loggers.

    Args:
        config: config, or a mapping as returned by `to_dict`, of any version of codial.
    """
    values = dict(config if isinstance(config, Mapping) else to_dict(config)) | {"name": ""}
    if isinstance(values.get("train"), Mapping):
        values["train"] = {key: value for key, value in values["train"].items() if key != "loggers"}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


def override(config: Config, changes: Mapping[str, Any]) -> Config:
    """Return a copy with dotted keys changed, such as `{"train.epochs": 5}`; strings are parsed as the field's type.

    Raises:
        CodialError: a key is unknown (similar names are listed) or a value is invalid.
    """
    values = to_dict(config)
    method = changes.get("method.name", config.method.name)
    if method != config.method.name:
        values["method"] = to_dict(method_config({"name": method}))
    names = list(_flatten(values))
    for key, value in changes.items():
        if key not in names:
            raise CodialError(unknown_setting(key, names))
        section, _, last = key.rpartition(".")
        (values[section] if section else values)[last] = value
    return from_dict(values)


def flatten(config: Config) -> Iterator[tuple[str, Any]]:
    """Yield the dotted name and the value of every setting, such as `("train.epochs", 200)`."""
    yield from _flatten(to_dict(config)).items()


def _flatten(values: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= {f"{key}.{name}": v for name, v in value.items()} if isinstance(value, dict) else {key: value}
    return flat
