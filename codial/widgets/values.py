"""A figure whose marks tell their values: by the mouse, and by Tab and the arrow keys.

Over each mark of the figure's PNG lies a radio button that can't be seen, for the browser itself moves from one to the
next of these with the arrow keys; a style sheet does the rest. No script, no kernel and no widget is needed, so the
values are still there when a notebook is opened again. Where style sheets are taken out, as in a notebook that is not
trusted, all words go with them and the bare picture stays.
"""

import base64
import secrets
from collections.abc import Sequence
from html import escape

from codial.plots.hover import Spot

_LOOKS = """<style>
.codial-values {position: relative; display: inline-block; max-width: 100%}
.codial-values img {display: block; max-width: 100%}
.codial-values label {position: absolute; margin: 0}
.codial-values input {position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0; cursor: crosshair}
.codial-values label:hover, .codial-values label:focus-within {outline: 2px solid #000; outline-offset: 1px}
.codial-values span {display: none; position: absolute; bottom: calc(100% + 5px); z-index: 9; padding: 0 7px;
    background: #222; color: #fff; font-size: 12px; line-height: 22px; white-space: nowrap; pointer-events: none}
.codial-values span::after {content: attr(data-words)}
.codial-values label:hover span, .codial-values:not(:hover) label:focus-within span {display: block}
</style>"""
_KEYS = "values of the figure; the arrow keys go from one to the next"
_OWN_KEYS = 'data-lm-suppress-shortcuts="true"'  # else JupyterLab takes the arrow keys for its own


def values(picture: bytes, spots: Sequence[Spot]) -> str:
    """Return a figure as HTML, in which each spot tells its words.

    Args:
        picture: a PNG.
        spots: places in it, as `plots.hover.with_spots` returns them, in the order of the arrow keys.
    """
    group = f"codial-{secrets.token_hex(4)}"
    address = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
    labels = "".join(_label(spot, group) for spot in spots)
    head = f'<div class="codial-values" role="radiogroup" aria-label="{_KEYS}">'
    return f'{_LOOKS}{head}<img alt="figure" src="{address}">{labels}</div>'


def _label(spot: Spot, group: str) -> str:
    place = {"left": spot.left, "top": spot.top, "width": spot.width, "height": spot.height}
    style = "".join(f"{side}: {100 * part:.2f}%; " for side, part in place.items())
    above = 2 if spot.width * spot.height < 0.001 else 1  # a mark lies over the bar that it is drawn on
    words = escape(spot.words)
    side = "right: 0" if spot.left > 0.5 else "left: 0"  # so that the words stay within the picture
    button = f'<input type="radio" name="{group}" aria-label="{words}" {_OWN_KEYS}>'
    return f'<label style="{style}z-index: {above}">{button}<span style="{side}" data-words="{words}"></span></label>'
