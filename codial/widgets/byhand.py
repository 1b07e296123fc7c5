"""One view by hand: a control for each of its parameters, and what the view is after each stage."""

from collections.abc import Callable, Mapping
from itertools import permutations
from typing import Any

import ipywidgets
import torch
from matplotlib.figure import Figure
from torch import Tensor

from codial.config import PRIMARY, ViewsConfig
from codial.errors import CodialError
from codial.evaluate import beliefs
from codial.plots.style import TICKS
from codial.plots.views import NAMES, one_view, stages
from codial.runs import Run
from codial.views.chosen import by_hand
from codial.views.colour import OPERATIONS
from codial.views.warp import POINTS
from codial.widgets.display import read_only

DEFAULTS: dict[str, Any] = {
    "area": 0.6,  # of the crop, part of the picture's
    "aspect": 1.0,  # width over height
    "across": 0.5,  # place of the crop, 0 left to 1 right
    "down": 0.5,  # 0 top to 1 bottom
    "mirror": False,
    "brightness": 1.0,
    "contrast": 1.0,
    "saturation": 1.0,
    "hue": 0.0,  # turns
    "order": "",  # of the colour operations by their initials, such as "hbcs"; drawn by the seed when empty
    "blur": 0.0,  # standard deviation in view pixels
    "primary": "warp",
    "warp": 0.1,  # reach of the offsets, part of the view's side
}
ORDERS = tuple("".join(each) for each in permutations(name[0] for name in OPERATIONS))


class HandControls:
    """Controls for one view's parameters.

    Args:
        config: gives the view's size, and the ranges of the crop.
        changed: called when a control has been moved.
    """

    def __init__(self, config: ViewsConfig, changed: Callable[[], None]) -> None:
        self.config = config
        self.controls = _controls(config)
        every = list(self.controls.values())
        columns = [ipywidgets.VBox(every[start : start + 5]) for start in range(0, len(every), 5)]
        self.text = ipywidgets.HTML()
        self.box = ipywidgets.VBox([ipywidgets.HBox(columns), self.text])
        for control in self.controls.values():
            control.observe(lambda _: changed(), names="value")

    @property
    def values(self) -> dict[str, Any]:
        """What the controls say, without the tails that steps of 0.01 leave."""
        values = {name: control.value for name, control in self.controls.items()}
        return {name: round(value, 4) if isinstance(value, float) else value for name, value in values.items()}

    def tell(self, common: Mapping[str, Any]) -> None:
        """Write anew what makes the same figure in Python: seed, run and arrows, and what was moved."""
        told = {"seed": common["seed"]}
        told |= {"run": str(common["run"])} if common["run"] else {}
        told |= {} if common["arrows"] else {"arrows": False}
        given = told | {name: value for name, value in self.values.items() if value != DEFAULTS[name]}
        call = f"explorer.render({', '.join(f'{name}={value!r}' for name, value in given.items())})"
        self.text.value = read_only(call, "copy as Python")


def hand_figure(
    picture: Tensor, config: ViewsConfig, values: Mapping[str, Any], *, seed: int, run: Run | None, arrows: bool
) -> Figure:
    """Show a picture, [3, H, W], and the view after each stage; those values left out are as `DEFAULTS`.

    Raises:
        CodialError: there is no such parameter, its value is out of range, or the run cannot be asked.
    """
    chosen = DEFAULTS | dict(values)
    _check(chosen)
    drawn = torch.Generator().manual_seed(seed)
    offsets = (2 * torch.rand(POINTS, 2, generator=drawn) - 1) * chosen["warp"] * config.size
    steps = _steps(config, chosen, offsets, torch.randperm(len(OPERATIONS), generator=drawn).tolist())
    views = [(name, one_view(picture, config, **settings)) for name, settings, _ in steps]
    notes = [note for *_, note in steps]
    if run:
        notes[-1] += "\n" + _belief(run, views[-1][1], chosen["primary"])
    height, width = picture.shape[-2:]
    box = by_hand((height, width), config.size, **_crop(chosen)).box[0, 0].tolist()
    shown = offsets if arrows and chosen["primary"] == "warp" else None
    return stages(picture, box, views, notes, shown)


def _belief(run: Run, view: Tensor, primary: str) -> str:
    belief = beliefs(run, view.unsqueeze(0))
    said, part = belief.said(0), float(belief.probabilities.max())
    return f"{TICKS[belief.verdict(0, primary)]}taken for {NAMES.get(said, said)}, {100 * part:.0f} %"


def _check(chosen: Mapping[str, Any]) -> None:
    unknown = sorted(set(chosen) - set(DEFAULTS))
    if unknown:
        raise CodialError(f"There is no parameter {unknown[0]!r}; there are {', '.join(DEFAULTS)}.")
    if chosen["primary"] not in PRIMARY:
        raise CodialError(f"primary is {chosen['primary']!r}; expected one of {', '.join(PRIMARY)}.")
    if not 0 < chosen["area"] <= 1:
        raise CodialError(f"area is {chosen['area']}; expected a part in (0, 1].")
    if chosen["order"] not in ("", *ORDERS):
        raise CodialError(f"order is {chosen['order']!r}; expected the letters of {ORDERS[0]!r} in some order, or ''.")


def _crop(chosen: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "area": chosen["area"],
        "aspect": chosen["aspect"],
        "place": (chosen["across"], chosen["down"]),
        "flip": chosen["mirror"],
    }


def _steps(
    config: ViewsConfig, chosen: Mapping[str, Any], offsets: Tensor, drawn: list[int]
) -> list[tuple[str, dict[str, Any], str]]:
    """Return name, settings and note of each stage; each stage has the settings of those before it, too."""
    order = [ORDERS[0].index(letter) for letter in chosen["order"]] or drawn
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


def _controls(config: ViewsConfig) -> dict[str, Any]:
    """Return a control for each of `DEFAULTS`, in their order."""
    narrow, wide = config.crop_aspect
    ranges = {
        "area": (min(0.08, config.crop_area[0]), 1.0),
        "aspect": (min(narrow, 0.75), max(wide, 4 / 3)),
        "across": (0.0, 1.0),
        "down": (0.0, 1.0),
        "brightness": (0.0, 2.0),
        "contrast": (0.0, 2.0),
        "saturation": (0.0, 2.0),
        "hue": (-0.5, 0.5),
        "blur": (0.0, 3.0),
        "warp": (0.0, 0.3),
    }
    made: dict[str, Any] = {
        name: ipywidgets.FloatSlider(
            DEFAULTS[name], min=low, max=high, step=0.01, description=name, continuous_update=False
        )
        for name, (low, high) in ranges.items()
    }
    made["mirror"] = ipywidgets.Checkbox(DEFAULTS["mirror"], description="mirror")
    kinds = [(NAMES[name], name) for name in PRIMARY]
    made["primary"] = ipywidgets.Dropdown(options=kinds, value=DEFAULTS["primary"], description="primary")
    orders = [("by the seed", ""), *((" → ".join(order), order) for order in ORDERS)]
    made["order"] = ipywidgets.Dropdown(options=orders, value=DEFAULTS["order"], description="order")
    for control in made.values():
        control.layout.width = "270px"  # three columns fit beside JupyterLab's list of files at 1280 pixels
    return {name: made[name] for name in DEFAULTS}
