"""Sliders for every transform, with the view they make beside the picture."""

from collections.abc import Mapping
from threading import Lock
from typing import Any

import ipywidgets
import torch
from matplotlib.figure import Figure
from torch import Tensor

from codial.config import PRIMARY, ViewsConfig
from codial.errors import CodialError
from codial.plots.views import NAMES, one_view, stages
from codial.views.chosen import by_hand
from codial.views.colour import OPERATIONS
from codial.views.warp import POINTS
from codial.widgets.display import LiveFigure, Panel

DEFAULTS: dict[str, Any] = {
    "picture": 0,  # number of the picture
    "area": 0.6,  # of the crop, part of the picture's
    "aspect": 1.0,  # width over height
    "across": 0.5,  # place of the crop, 0 left to 1 right
    "down": 0.5,  # 0 top to 1 bottom
    "mirror": False,
    "brightness": 1.0,
    "contrast": 1.0,
    "saturation": 1.0,
    "hue": 0.0,  # turns
    "blur": 0.0,  # standard deviation in view pixels
    "primary": "warp",
    "warp": 0.1,  # reach of the offsets, part of the view's side
    "draw": 0,  # another number draws other offsets, and another order of the colour operations
}


class TransformExplorer:
    """Choose the parameters of one view by hand, and see it after each stage.

    `show()` puts sliders and figure under the cell; `render(area=0.3)` makes the same figure without a browser.

    Args:
        pictures: [N, 3, H, W] uint8 or float in [0, 1].
        config: of the views; gives their size and the ranges of the crop.
    """

    def __init__(self, pictures: Tensor, config: ViewsConfig) -> None:
        self.pictures, self.config = pictures, config
        self.controls = _controls(len(pictures), config)
        self.message = ipywidgets.HTML()
        self.figure = LiveFigure(pause=0)
        self._drawing = Lock()  # callbacks may come from two threads
        for control in self.controls.values():
            control.observe(self._changed, names="value")

    def show(self) -> None:
        """Show the sliders, and below them the figure."""
        Panel([_in_columns(self.controls), self.message], "[sliders: run this cell in JupyterLab]").show()
        self._changed()

    def render(self, **values: Any) -> Figure:
        """Return the figure for these values; those left out are as `DEFAULTS`.

        Raises:
            CodialError: there is no such parameter, or its value is out of range.
        """
        chosen = DEFAULTS | values
        _check(chosen, len(self.pictures))
        picture = self.pictures[chosen["picture"]]
        steps = _steps(picture, self.config, chosen)
        height, width = picture.shape[-2:]
        box = by_hand((height, width), self.config.size, **_crop(chosen)).box[0, 0].tolist()
        views = [(name, one_view(picture, self.config, **settings)) for name, settings, _ in steps]
        return stages(picture, box, views, [note for *_, note in steps])

    def _changed(self, change: Any = None) -> None:
        """Draw anew; an error is shown, for JupyterLab hides those of callbacks."""
        values = {name: control.value for name, control in self.controls.items()}
        with self._drawing:
            try:
                self.figure.update(lambda: self.render(**values), force=True)
                self.message.value = ""
            except Exception as error:
                self.message.value = f"<b>{type(error).__name__}:</b> {error}"


def _check(chosen: Mapping[str, Any], pictures: int) -> None:
    unknown = sorted(set(chosen) - set(DEFAULTS))
    if unknown:
        raise CodialError(f"There is no parameter {unknown[0]!r}; there are {', '.join(DEFAULTS)}.")
    if chosen["primary"] not in PRIMARY:
        raise CodialError(f"primary is {chosen['primary']!r}; expected one of {', '.join(PRIMARY)}.")
    if not 0 <= chosen["picture"] < pictures:
        raise CodialError(f"picture is {chosen['picture']}; expected a number from 0 to {pictures - 1}.")
    if not 0 < chosen["area"] <= 1:
        raise CodialError(f"area is {chosen['area']}; expected a part in (0, 1].")


def _crop(chosen: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "area": chosen["area"],
        "aspect": chosen["aspect"],
        "place": (chosen["across"], chosen["down"]),
        "flip": chosen["mirror"],
    }


def _steps(picture: Tensor, config: ViewsConfig, chosen: Mapping[str, Any]) -> list[tuple[str, dict[str, Any], str]]:
    """Return name, settings and note of each stage; each stage has the settings of those before it, too."""
    drawn = torch.Generator().manual_seed(chosen["draw"])
    offsets = (2 * torch.rand(POINTS, 2, generator=drawn) - 1) * chosen["warp"] * config.size
    order = torch.randperm(len(OPERATIONS), generator=drawn).tolist()
    cropped = _crop(chosen)
    coloured = cropped | {"factors": [chosen[name] for name in OPERATIONS], "order": order}
    blurred = coloured | {"sigma": chosen["blur"]}
    last = blurred | {"offsets": offsets, "primary": chosen["primary"]}
    is_warp = chosen["primary"] == "warp"
    return [
        ("crop, mirror", cropped, f"{100 * chosen['area']:.0f} %, {'' if chosen['mirror'] else 'not '}mirrored"),
        ("colours", coloured, ", ".join(OPERATIONS[place] for place in order)),
        ("blur", blurred, f"σ {chosen['blur']:.2f} px"),
        (NAMES[chosen["primary"]], last, f"up to {float(offsets.norm(dim=1).max()):.1f} px" if is_warp else ""),
    ]


def _controls(pictures: int, config: ViewsConfig) -> dict[str, Any]:
    """Return a control for each of `DEFAULTS`, in their order."""
    narrow, wide = config.crop_aspect
    ranges = {
        "area": (min(0.08, config.crop_area[0]), 1.0),
        "aspect": (narrow, wide),
        "across": (0.0, 1.0),
        "down": (0.0, 1.0),
        "brightness": (0.0, 2.0),
        "contrast": (0.0, 2.0),
        "saturation": (0.0, 2.0),
        "hue": (-0.5, 0.5),
        "blur": (0.0, 3.0),
        "warp": (0.0, 0.3),
    }
    made = {name: _slider(name, *ends, step=0.01) for name, ends in ranges.items()}
    made["picture"] = _slider("picture", 0, pictures - 1)
    made["draw"] = _slider("draw", 0, 99)
    made["mirror"] = ipywidgets.Checkbox(DEFAULTS["mirror"], description="mirror")
    options = [(NAMES[name], name) for name in PRIMARY]
    made["primary"] = ipywidgets.Dropdown(options=options, value=DEFAULTS["primary"], description="primary")
    for control in made.values():
        control.layout.width = "270px"  # three columns fit beside JupyterLab's list of files at 1280 pixels
    return {name: made[name] for name in DEFAULTS}


def _slider(name: str, low: float, high: float, step: float = 1) -> Any:
    """Return a slider that reports where it is let go, not every place on its way."""
    kind = ipywidgets.IntSlider if isinstance(DEFAULTS[name], int) else ipywidgets.FloatSlider
    return kind(DEFAULTS[name], min=low, max=high, step=step, description=name, continuous_update=False)


def _in_columns(controls: Mapping[str, Any], rows: int = 5) -> ipywidgets.HBox:
    every = list(controls.values())
    return ipywidgets.HBox([ipywidgets.VBox(every[start : start + rows]) for start in range(0, len(every), rows)])
