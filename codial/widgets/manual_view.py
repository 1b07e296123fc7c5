"""One view with manually set parameters: a control for each, and the view after each stage."""

from collections.abc import Callable, Mapping
from itertools import permutations
from typing import Any

import ipywidgets
import torch
from matplotlib.figure import Figure
from torch import Tensor

from codial.config import PRIMARY, ViewsConfig
from codial.errors import CodialError
from codial.evaluate import predictions
from codial.plots.style import TICKS
from codial.plots.transforms import NAMES, one_view, stages
from codial.runs.run import Run
from codial.transforms.color_jitter import OPERATIONS
from codial.transforms.manual import manual_params
from codial.transforms.warp import POINTS
from codial.widgets.display import read_only_field

DEFAULTS: dict[str, Any] = {
    "area": 0.6,  # of the crop, as a fraction of the image's area
    "aspect": 1.0,  # width over height of the crop
    "x": 0.5,  # position of the crop, from 0 (left) to 1 (right)
    "y": 0.5,  # from 0 (top) to 1 (bottom)
    "flip": False,
    "brightness": 1.0,
    "contrast": 1.0,
    "saturation": 1.0,
    "hue": 0.0,  # shift as a fraction of the hue circle
    "order": "",  # of the color operations by their initials, such as "hbcs"; sampled if empty
    "blur": 0.0,  # standard deviation in view pixels
    "primary": "warp",
    "warp": 0.1,  # largest offset, as a fraction of the view's side
}
ORDERS = tuple("".join(each) for each in permutations(name[0] for name in OPERATIONS))


class ManualControls:
    """Controls for one view's parameters.

    Args:
        config: Gives the view's size and the ranges of the crop.
        on_change: Called when a control has changed.
    """

    def __init__(self, config: ViewsConfig, on_change: Callable[[], None]) -> None:
        self.config = config
        self.controls = _controls(config)
        controls = list(self.controls.values())
        columns = [ipywidgets.VBox(controls[start : start + 5]) for start in range(0, len(controls), 5)]
        self.text = ipywidgets.HTML()
        self.box = ipywidgets.VBox([ipywidgets.HBox(columns), self.text])
        for control in controls:
            control.observe(lambda _: on_change(), names="value")

    @property
    def values(self) -> dict[str, Any]:
        """The values of the controls, rounded to remove floating-point errors of steps of 0.01."""
        values = {name: control.value for name, control in self.controls.items()}
        return {name: round(value, 4) if isinstance(value, float) else value for name, value in values.items()}

    def update_text(self, common: Mapping[str, Any]) -> None:
        """Update the Python call that returns the same figure: seed, run, arrows and the changed parameters."""
        arguments = {"seed": common["seed"]}
        arguments |= {"run": str(common["run"])} if common["run"] else {}
        arguments |= {} if common["arrows"] else {"arrows": False}
        arguments |= {name: value for name, value in self.values.items() if value != DEFAULTS[name]}
        call = f"explorer.render({', '.join(f'{name}={value!r}' for name, value in arguments.items())})"
        self.text.value = read_only_field(call, "copy as Python")


def manual_figure(
    image: Tensor, config: ViewsConfig, values: Mapping[str, Any], *, seed: int, run: Run | None, arrows: bool
) -> Figure:
    """Draw an image, [3, H, W], and its view after each stage.

    Args:
        image: [3, H, W] uint8.
        config: Gives the view's size.
        values: Parameters; those left out are as in `DEFAULTS`.
        seed: Seed of the warp's offsets and of the order of color operations.
        run: Run whose prediction is printed.
        arrows: Whether to draw the warp's offsets.

    Raises:
        CodialError: There is no such parameter, its value is out of range, or the run makes no predictions.
    """
    params = DEFAULTS | dict(values)
    _check(params)
    rng = torch.Generator().manual_seed(seed)
    offsets = (2 * torch.rand(POINTS, 2, generator=rng) - 1) * params["warp"] * config.size
    steps = _steps(params, offsets, torch.randperm(len(OPERATIONS), generator=rng).tolist())
    views = [(name, one_view(image, config, **settings)) for name, settings, _ in steps]
    captions = [caption for *_, caption in steps]
    if run:
        captions[-1] += "\n" + _prediction(run, views[-1][1], params["primary"])
    height, width = image.shape[-2:]
    box = manual_params((height, width), config.size, **_crop(params)).box[0, 0].tolist()
    return stages(image, box, views, captions, offsets if arrows and params["primary"] == "warp" else None)


def _prediction(run: Run, view: Tensor, primary: str) -> str:
    prediction = predictions(run, view.unsqueeze(0))
    top, probability = prediction.top_class(0), float(prediction.probabilities.max())
    return f"{TICKS[prediction.outcome(0, primary)]}predicted: {NAMES.get(top, top)}, {100 * probability:.0f} %"


def _check(params: Mapping[str, Any]) -> None:
    unknown = sorted(set(params) - set(DEFAULTS))
    if unknown:
        raise CodialError(f"There is no parameter {unknown[0]!r}; expected one of {', '.join(DEFAULTS)}.")
    if params["primary"] not in PRIMARY:
        raise CodialError(f"primary is {params['primary']!r}; expected one of {', '.join(PRIMARY)}.")
    if not 0 < params["area"] <= 1:
        raise CodialError(f"area is {params['area']}; expected a fraction in (0, 1].")
    if params["order"] not in ("", *ORDERS):
        raise CodialError(f"order is {params['order']!r}; expected a permutation of {ORDERS[0]!r}, or ''.")


def _crop(params: Mapping[str, Any]) -> dict[str, Any]:
    position = (params["x"], params["y"])
    return {"area": params["area"], "aspect": params["aspect"], "position": position, "flip": params["flip"]}


def _steps(
    params: Mapping[str, Any], offsets: Tensor, sampled_order: list[int]
) -> list[tuple[str, dict[str, Any], str]]:
    """Return name, settings and caption of each stage; the settings include those of the stages before."""
    order = [ORDERS[0].index(letter) for letter in params["order"]] or sampled_order
    cropped = _crop(params)
    jittered = cropped | {"factors": [params[name] for name in OPERATIONS], "order": order}
    blurred = jittered | {"sigma": params["blur"]}
    transformed = blurred | {"offsets": offsets, "primary": params["primary"]}
    is_warp = params["primary"] == "warp"
    return [
        ("crop, flip", cropped, f"{100 * params['area']:.0f} %, {'' if params['flip'] else 'not '}flipped"),
        ("color jitter", jittered, ", ".join(OPERATIONS[index] for index in order)),
        ("blur", blurred, f"σ {params['blur']:.2f} px"),
        (NAMES[params["primary"]], transformed, f"up to {float(offsets.norm(dim=1).max()):.1f} px" if is_warp else ""),
    ]


def _controls(config: ViewsConfig) -> dict[str, Any]:
    """Return a control for each parameter in `DEFAULTS`, in their order."""
    narrow, wide = config.crop_aspect
    ranges = {
        "area": (min(0.08, config.crop_area[0]), 1.0),
        "aspect": (min(narrow, 0.75), max(wide, 4 / 3)),
        "x": (0.0, 1.0),
        "y": (0.0, 1.0),
        "brightness": (0.0, 2.0),
        "contrast": (0.0, 2.0),
        "saturation": (0.0, 2.0),
        "hue": (-0.5, 0.5),
        "blur": (0.0, 3.0),
        "warp": (0.0, 0.3),
    }
    controls: dict[str, Any] = {
        name: ipywidgets.FloatSlider(
            DEFAULTS[name], min=low, max=high, step=0.01, description=name, continuous_update=False
        )
        for name, (low, high) in ranges.items()
    }
    controls["flip"] = ipywidgets.Checkbox(DEFAULTS["flip"], description="flip")
    options = [(NAMES[name], name) for name in PRIMARY]
    controls["primary"] = ipywidgets.Dropdown(options=options, value=DEFAULTS["primary"], description="primary")
    orders = [("sampled", ""), *((" → ".join(order), order) for order in ORDERS)]
    controls["order"] = ipywidgets.Dropdown(options=orders, value=DEFAULTS["order"], description="order")
    for control in controls.values():
        control.layout.width = "270px"  # three columns fit beside JupyterLab's file browser at 1280 pixels
    return {name: controls[name] for name in DEFAULTS}
