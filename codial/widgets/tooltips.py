"""Figures as HTML with tooltips, by mouse and by Tab and the arrow keys.

An invisible radio button lies over each mark of the figure's PNG, since browsers themselves move between radio buttons
with the arrow keys; a style sheet does the rest. No script, kernel or widget is needed, so tooltips still work when a
notebook is opened again. Where style sheets are removed, as in an untrusted notebook, the plain image remains.
"""

import base64
import secrets
from collections.abc import Sequence
from html import escape

from codial.plots.tooltips import Tooltip

# Without `appearance: none` the corners of a tall button cannot be hovered: Chromium makes radio buttons ellipses.
_STYLE = """<style>
.codial-values {position: relative; display: inline-block; max-width: 100%}
.codial-values img {display: block; max-width: 100%}
.codial-values label {position: absolute; margin: 0}
.codial-values input {position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0; cursor: crosshair;
    appearance: none}
.codial-values label:hover, .codial-values label:focus-within {outline: 2px solid #000; outline-offset: 1px}
.codial-values span {display: none; position: absolute; bottom: calc(100% + 5px); z-index: 9; padding: 0 7px;
    width: max-content; max-width: 20em;
    background: #222; color: #fff; font-size: 12px; line-height: 22px; white-space: normal; pointer-events: none}
.codial-values span::after {content: attr(data-text)}
.codial-values label:hover span, .codial-values:not(:hover) label:focus-within span {display: block}
</style>"""
_GROUP_LABEL = "values of the figure; the arrow keys move between them"
_NO_SHORTCUTS = 'data-lm-suppress-shortcuts="true"'  # otherwise JupyterLab handles the arrow keys


def figure_html(image: bytes, tooltips: Sequence[Tooltip]) -> str:
    """Return a figure with tooltips as HTML.

    Args:
        image: A PNG.
        tooltips: Its tooltips, as `codial.plots.tooltips.png_with_tooltips` returns them, in the order of the arrow
            keys.
    """
    group = f"codial-{secrets.token_hex(4)}"
    address = f"data:image/png;base64,{base64.b64encode(image).decode()}"
    labels = "".join(_label(tooltip, group) for tooltip in tooltips)
    head = f'<div class="codial-values" role="radiogroup" aria-label="{_GROUP_LABEL}">'
    return f'{_STYLE}{head}<img alt="figure" src="{address}">{labels}</div>'


def _label(tooltip: Tooltip, group: str) -> str:
    box = {"left": tooltip.left, "top": tooltip.top, "width": tooltip.width, "height": tooltip.height}
    style = "".join(f"{side}: {100 * fraction:.2f}%; " for side, fraction in box.items())
    layer = 2 if tooltip.width * tooltip.height < 0.001 else 1  # markers lie above the bars that they are drawn on
    text = escape(tooltip.text)
    side = "right: 0" if tooltip.left > 0.5 else "left: 0"  # keeps the text within the image
    side += "; bottom: auto; top: 5px" if tooltip.top < 0.15 else ""
    button = f'<input type="radio" name="{group}" aria-label="{text}" {_NO_SHORTCUTS}>'
    return f'<label style="{style}z-index: {layer}">{button}<span style="{side}" data-text="{text}"></span></label>'
