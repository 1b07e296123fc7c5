"""How far each reading of what the paper leaves open is from CODIAL's own."""

from collections.abc import Mapping, Sequence
from statistics import mean, stdev

from matplotlib.figure import Figure

from codial.answers import Answer
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
