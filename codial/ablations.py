"""What the paper takes away from CODIAL or adds to see what it is worth (Table 2, Figure 3), and what it left open.

Each is a change of CODIAL's settings at any scale, by the name that follows `codial-` in a preset's.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from codial.config import CodialOptions, Config

_NO_COLOUR: dict[str, Any] = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}


def with_objective(base: Config, **changes: Any) -> Config:
    """Change CODIAL's own options."""
    assert isinstance(base.objective, CodialOptions)
    return replace(base, objective=replace(base.objective, **changes))


def with_views(base: Config, **changes: Any) -> Config:
    """Change the views."""
    return replace(base, views=replace(base.views, **changes))


ABLATIONS: dict[str, Callable[[Config], Config]] = {
    # Weights of the loss, Table 2: discrimination alone, alignment alone.
    "cls": partial(with_objective, mi_weight=0.0),
    "mi": partial(with_objective, cls_weight=0.0),
    # Auxiliary transforms, Table 2: crop, blur, colour; crop and colour are CODIAL's own.
    "cr": partial(with_views, **_NO_COLOUR),
    "cr-bl": partial(with_views, blur=0.5, **_NO_COLOUR),
    "cr-bl-co": partial(with_views, blur=0.5),
    # What classifier and stochastic head read, on which the paper is silent; both reading fc7 is CODIAL's own here.
    "split": partial(with_objective, head="split"),
    "decoupled": partial(with_objective, head="decoupled"),
    # Pairs of views that are aligned, Figure 3; all ten are CODIAL's own.
    **{f"pairs{count}": partial(with_objective, pairs=count) for count in range(1, 10)},
}
