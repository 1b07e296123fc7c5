"""A control for every setting of views, and the text that makes the same settings elsewhere."""

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any

import ipywidgets

from codial.config import PRIMARY, ViewsConfig
from codial.errors import CodialError
from codial.plots.views import NAMES
from codial.settings import unknown
from codial.widgets.display import read_only

# What a slider goes over; ranges have two handles.
_ENDS = {
    "flip": (0.0, 1.0),
    "crop_area": (0.01, 1.0),
    "crop_aspect": (0.25, 4.0),
    "brightness": (0.0, 1.0),
    "contrast": (0.0, 1.0),
    "saturation": (0.0, 1.0),
    "hue": (0.0, 0.5),
    "grey": (0.0, 1.0),
    "blur": (0.0, 1.0),
    "blur_kernel": (0.02, 0.5),
    "blur_sigma": (0.01, 5.0),
    "warp_offset": (0.0, 0.5),
}
_CHOICES = {"warp_placement": ("grid", "random"), "warp_border": ("replicate", "picture")}
_SHORT = {"warp_placement": "warp points", "warp_border": "warp's edge"}
_COLUMNS = 3  # as fit beside JupyterLab's list of files at 1280 pixels
_COLUMN = ipywidgets.Layout(width="270px")


class ViewsControls:
    """Controls bound to the fields of a `ViewsConfig`.

    Args:
        given: the settings to begin with.
        changed: called when a control has been moved.
    """

    def __init__(self, given: ViewsConfig, changed: Callable[[], None]) -> None:
        self.given = given
        self.primary = {name: _switch(name in given.primary, NAMES[name]) for name in PRIMARY}
        names = [field.name for field in fields(given) if field.name != "primary"]
        self.controls = {name: _control(name, getattr(given, name)) for name in names}
        self.text = ipywidgets.HTML()
        self.as_given = ipywidgets.Button(description="as given", tooltip="all settings as they were given")
        self.box = _laid_out([*self.primary.values(), self.as_given], list(self.controls.values()), self.text)
        for control in (*self.primary.values(), *self.controls.values()):
            control.observe(lambda _: changed(), names="value")

    @property
    def config(self) -> ViewsConfig:
        """The settings as the controls have them.

        Raises:
            CodialError: they do not fit, as when no transform is left.
        """
        values = {name: _read(control.value, getattr(self.given, name)) for name, control in self.controls.items()}
        chosen = tuple(name for name, control in self.primary.items() if control.value)
        same = set(chosen) == set(self.given.primary)
        return ViewsConfig(primary=self.given.primary if same else chosen, **values)

    def reset(self) -> None:
        """Bring every control back to the given settings."""
        for name, control in self.controls.items():
            control.value = getattr(self.given, name)
        for name, switch in self.primary.items():
            switch.value = name in self.given.primary

    def tell(self) -> None:
        """Write the text anew."""
        self.text.value = read_only(as_text(self.given, self.config), "copy as config")


def changed_config(given: ViewsConfig, changes: Mapping[str, Any]) -> ViewsConfig:
    """Return settings with some fields changed.

    Raises:
        CodialError: there is no such field, or its value does not fit.
    """
    names = [field.name for field in fields(given)]
    for name in changes:
        if name not in names:
            raise CodialError(unknown(name, names))
    return replace(given, **changes)


def as_text(given: ViewsConfig, chosen: ViewsConfig) -> str:
    """Return what makes `chosen` out of `given`, for a shell and for Python."""
    changes = {
        field.name: getattr(chosen, field.name)
        for field in fields(given)
        if getattr(chosen, field.name) != getattr(given, field.name)
    }
    if not changes:
        return "# Nothing is changed yet: move a control, and what makes the same settings stands here."
    shell = " ".join(f"--set views.{name}={_plain(value)}" for name, value in changes.items())
    python = ", ".join(f"{name}={value!r}" for name, value in changes.items())
    return f"{shell}\nreplace(config.views, {python})"


def _plain(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _read(value: Any, given: Any) -> Any:
    """Return a control's value without the tail that steps of 0.01 leave; untouched it is what was given."""
    if value == given:
        return given
    if isinstance(value, tuple):
        return tuple(round(each, 4) for each in value)
    return round(value, 4) if isinstance(value, float) else value


def _laid_out(switches: list[Any], every: list[Any], text: Any) -> ipywidgets.VBox:
    label = ipywidgets.Label("transforms", layout=ipywidgets.Layout(width="90px", margin="2px 8px 2px 2px"))
    label.layout.justify_content = "flex-end"
    rows = -(-len(every) // _COLUMNS)
    columns = ipywidgets.HBox([ipywidgets.VBox(every[i : i + rows]) for i in range(0, len(every), rows)])
    return ipywidgets.VBox([ipywidgets.HBox([label, *switches]), columns, text])


def _control(name: str, value: Any) -> Any:
    looks: dict[str, Any] = {
        "description": _SHORT.get(name, name.replace("_", " ")),
        "tooltip": f"views.{name}",
        "layout": _COLUMN,
        "style": {"description_width": "90px"},
    }
    if isinstance(value, bool):
        return ipywidgets.Checkbox(value=value, **looks)
    if isinstance(value, int):
        return ipywidgets.BoundedIntText(value=value, min=16, max=512, **looks)
    if isinstance(value, str):
        return ipywidgets.Dropdown(options=_CHOICES[name], value=value, **looks)
    is_range = isinstance(value, tuple)
    low, high = _ENDS[name]
    ends = {"min": min(low, value[0] if is_range else value), "max": max(high, value[1] if is_range else value)}
    kind = ipywidgets.FloatRangeSlider if is_range else ipywidgets.FloatSlider
    return kind(value=value, **ends, step=0.01, continuous_update=False, **looks)


def _switch(value: bool, description: str) -> Any:
    return ipywidgets.Checkbox(value, description=description, indent=False, layout=ipywidgets.Layout(width="100px"))
