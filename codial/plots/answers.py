"""How far each reading of what the paper leaves open is from CODIAL's own."""

from collections.abc import Mapping, Sequence
from statistics import mean, stdev

from matplotlib.figure import Figure

from codial.answers import Answer, Told
from codial.information import TWO_LN2
from codial.plots.style import BLUE, GREY, LABEL, ORANGE, SMALL, TITLE, curve_axes, new_figure


def answer_dots(found: Mapping[str, Sequence[Answer]], layers: Sequence[str] = ("conv2", "conv5")) -> Figure:
    """Draw a dot for each reading: points of accuracy beside CODIAL's own, whose spread over seeds is a band.

    Args:
        found: by question, CODIAL's own answer first, as `Answers.found`.
        layers: one panel each.
    """
    rows = [(answer, question) for question, given in found.items() for answer in given[1:]]
    figure = new_figure(4.2 + 3.2 * len(layers), 0.9 + 0.27 * (len(rows) + len(found)))
    panels = figure.subplots(1, len(layers), sharey=True, squeeze=False)[0]
    for axes, layer in zip(panels, layers, strict=True):
        curve_axes(axes)
        own = next(iter(found.values()))[0].layers[layer]
        if len(own) > 1:
            axes.axvspan(-stdev(own), stdev(own), color=GREY, alpha=0.25, linewidth=0)
        axes.axvline(0, color=GREY, linewidth=1)
        for place, (answer, _) in zip(_places(found), rows, strict=True):
            gain = mean(answer.layers[layer]) - mean(own)
            axes.plot([0, gain], [place, place], color=BLUE if gain >= 0 else ORANGE, linewidth=1.5)
            axes.plot(gain, place, "o", color=BLUE if gain >= 0 else ORANGE, markersize=6)
        axes.set_title(layer, fontsize=TITLE)
        axes.set_xlabel("points of accuracy beside CODIAL's own reading", fontsize=SMALL)
    panels[0].set_yticks(_places(found), [f"{answer.says}" for answer, _ in rows], fontsize=SMALL)
    panels[0].set_ylim(_places(found)[-1] + 0.6, -0.6)
    for question, place in zip(found, _heads(found), strict=True):
        panels[0].annotate(
            question, (0, place), xycoords=("axes fraction", "data"), xytext=(-6, 0), textcoords="offset points",
            ha="right", va="center", fontsize=LABEL - 1, weight="bold", annotation_clip=False,
        )  # fmt: skip
    return figure


def colour_dots(told: Sequence[Told]) -> Figure:
    """Draw how far each configuration's bound went against what its views' mean colours alone give.

    Args:
        told: as `told_by_colours`; of dots that lie together only the first is named.
            Without any the figure says how to get one.
    """
    figure = new_figure(6.4, 4.0)
    axes = figure.subplots()
    curve_axes(axes)
    axes.plot([0, TWO_LN2], [0, TWO_LN2], color=GREY, linewidth=1, label="as much as colours alone give")
    for each, others in _apart(told).items():
        axes.plot([o.colours for o in others], [o.mi_js for o in others], "o", color=BLUE, markersize=6, alpha=0.7)
        more, above = f" and {len(others) - 1} more" if len(others) > 1 else "", each.mi_js > each.colours
        axes.annotate(
            f"{each.system}{more}", (each.colours, each.mi_js), xytext=(-8 if above else 8, -4),
            textcoords="offset points", fontsize=SMALL, ha="right" if above else "left",
        )  # fmt: skip
    if not told:
        axes.text(0.7, 0.1, "no views are measured yet: codial shortcuts RUN", fontsize=SMALL, ha="center")
    axes.set(xlim=(0, TWO_LN2), ylim=(-0.05, TWO_LN2))
    axes.set_xlabel("bound of a critic that sees mean colours alone (nats)", fontsize=LABEL)
    axes.set_ylabel("mi_js at the end of the run (nats)", fontsize=LABEL)
    axes.legend(fontsize=SMALL, frameon=False, loc="upper left")
    return figure


def _apart(told: Sequence[Told], near: float = 0.08) -> dict[Told, list[Told]]:
    """Gather dots that lie near each other under the first of them."""
    found: dict[Told, list[Told]] = {}
    for each in told:
        firsts = (f for f in found if abs(f.colours - each.colours) < near and abs(f.mi_js - each.mi_js) < near)
        found.setdefault(next(firsts, each), []).append(each)
    return found


def _places(found: Mapping[str, Sequence[Answer]]) -> list[float]:
    """Return where each reading's line lies; a line is left free above each question's first, for its words."""
    places, place = [], 0.0
    for given in found.values():
        places += [place + 1 + i for i in range(len(given) - 1)]
        place += len(given)
    return places


def _heads(found: Mapping[str, Sequence[Answer]]) -> list[float]:
    heads, place = [], 0.0
    for given in found.values():
        heads.append(place)
        place += len(given)
    return heads
