"""A control for every setting of a `ViewsConfig`, and the text that reproduces the settings."""

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any

import ipywidgets

from codial.config import PRIMARY, ViewsConfig
from codial.config.validation import unknown_setting
from codial.errors import CodialError
from codial.plots.transforms import NAMES
from codial.widgets.display import read_only_field

# Ranges of the sliders; settings that are ranges themselves have two handles.
_RANGES = {
    "flip": (0.0, 1.0),
    "crop_area": (0.01, 1.0),
    "crop_aspect": (0.25, 4.0),
    "brightness": (0.0, 1.0),
    "contrast": (0.0, 1.0),
    "saturation": (0.0, 1.0),
    "hue": (0.0, 0.5),
    "grayscale": (0.0, 1.0),
    "blur": (0.0, 1.0),
    "blur_kernel": (0.02, 0.5),
    "blur_sigma": (0.01, 5.0),
    "warp_offset": (0.0, 0.5),
}
_CHOICES = {"warp_placement": ("grid", "random"), "warp_border": ("replicate", "image")}
_LABELS = {"warp_placement": "warp points"}  # others are the setting's name
_COLUMNS = 3  # fit beside JupyterLab's file browser at 1280 pixels
_COLUMN = ipywidgets.Layout(width="270px")


class ViewsControls:
    """Controls for the fields of a `ViewsConfig`.

    Args:
        initial: The initial settings.
        on_change: Called when a control has changed.
    """

    def __init__(self, initial: ViewsConfig, on_change: Callable[[], None]) -> None:
        self.initial = initial
        self.primary = {name: _checkbox(name in initial.primary, NAMES[name]) for name in PRIMARY}
        names = [field.name for field in fields(initial) if field.name != "primary"]
        self.controls = {name: _control(name, getattr(initial, name)) for name in names}
        self.text = ipywidgets.HTML()
        self.reset_button = ipywidgets.Button(description="reset", tooltip="restore the initial settings")
        self.reset_button.layout.width = "80px"
        self.box = _layout([*self.primary.values(), self.reset_button], list(self.controls.values()), self.text)
        for control in (*self.primary.values(), *self.controls.values()):
            control.observe(lambda _: on_change(), names="value")

    @property
    def config(self) -> ViewsConfig:
        """The settings of the controls.

        Raises:
            CodialError: They are invalid, as when no transform is selected.
        """
        values = {name: _read(control.value, getattr(self.initial, name)) for name, control in self.controls.items()}
        names = [name for name, control in self.primary.items() if control.value]
        primary = tuple(name for name in names for _ in range(max(1, self.initial.primary.count(name))))
        if set(primary) == set(self.initial.primary):
            primary = self.initial.primary  # keeps its order
        return ViewsConfig(primary=primary, **values)

    def reset(self) -> None:
        """Set every control to the initial settings."""
        for name, control in self.controls.items():
            control.value = getattr(self.initial, name)
        for name, checkbox in self.primary.items():
            checkbox.value = name in self.initial.primary

    def update_text(self) -> None:
        """Update the text that reproduces the settings."""
        self.text.value = read_only_field(as_text(self.initial, self.config), "copy as config")


def changed_config(initial: ViewsConfig, changes: Mapping[str, Any]) -> ViewsConfig:
    """Return settings with some fields replaced.

    Raises:
        CodialError: There is no such field, or its value is invalid.
    """
    names = [field.name for field in fields(initial)]
    for name in changes:
        if name not in names:
            raise CodialError(unknown_setting(name, names))
    return replace(initial, **changes)


def as_text(initial: ViewsConfig, config: ViewsConfig) -> str:
    """Return the difference between two configurations as command-line options and as Python."""
    changes = {
        field.name: getattr(config, field.name)
        for field in fields(initial)
        if getattr(config, field.name) != getattr(initial, field.name)
    }
    if not changes:
        return "# No changes yet: move a control, and the options that reproduce it appear here."
    shell = " ".join(f"--set views.{name}={_plain(value)}" for name, value in changes.items())
    python = ", ".join(f"{name}={value!r}" for name, value in changes.items())
    return f"{shell}\nreplace(config.views, {python})"


def _plain(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _read(value: Any, initial: Any) -> Any:
    """Return a control's value without floating-point errors of steps of 0.01; an unchanged value stays exact."""
    if value == initial:
        return initial
    if isinstance(value, tuple):
        return tuple(round(each, 4) for each in value)
    return round(value, 4) if isinstance(value, float) else value


def _layout(checkboxes: list[Any], controls: list[Any], text: Any) -> ipywidgets.VBox:
    label = ipywidgets.Label("transforms", layout=ipywidgets.Layout(width="90px", margin="2px 8px 2px 2px"))
    label.layout.justify_content = "flex-end"
    rows = -(-len(controls) // _COLUMNS)
    columns = ipywidgets.HBox([ipywidgets.VBox(controls[i : i + rows]) for i in range(0, len(controls), rows)])
    return ipywidgets.VBox([ipywidgets.HBox([label, *checkboxes]), columns, text])


def _control(name: str, value: Any) -> Any:
    options: dict[str, Any] = {
        "description": _LABELS.get(name, name.replace("_", " ")),
        "tooltip": f"views.{name}",
        "layout": _COLUMN,
        "style": {"description_width": "90px"},
    }
    if isinstance(value, bool):
        return ipywidgets.Checkbox(value=value, **options)
    if isinstance(value, int):
        return ipywidgets.BoundedIntText(value=value, min=16, max=512, **options)
    if isinstance(value, str):
        return ipywidgets.Dropdown(options=_CHOICES[name], value=value, **options)
    is_range = isinstance(value, tuple)
    low, high = _RANGES[name]
    limits = {"min": min(low, value[0] if is_range else value), "max": max(high, value[1] if is_range else value)}
    kind = ipywidgets.FloatRangeSlider if is_range else ipywidgets.FloatSlider
    return kind(value=value, **limits, step=0.01, continuous_update=False, **options)


def _checkbox(value: bool, description: str) -> Any:
    return ipywidgets.Checkbox(value, description=description, indent=False, layout=ipywidgets.Layout(width="120px"))
