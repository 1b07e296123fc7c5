"""Views on a CPU: one compiled pass a view, which keeps it in the processor's cache from the first read to the last.

The same arithmetic as `geometry`, `colour` and `blur` do on whole batches, which is what other devices run; the two
agree to rounding. A picture lies as rows of four numbers a pixel (red, green, blue and one of padding), so that one
vector load takes a pixel. All of it stays in this file: Numba's cache on disk sees changes in the file it stems from.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "reassoc", "nsz", "nnan"}}
_ZERO, _QUARTER, _HALF, _ONE = (np.float32(x) for x in (0, 0.25, 0.5, 1))
_NEAR = np.float32(1e-4)  # `geometry.NEAR`
_RED, _GREEN, _BLUE = (np.float32(x) for x in (0.2989, 0.587, 0.114))  # torchvision's grey


def _compiled(function: Callable[..., Any]) -> Any:
    """Compile at the first call, and keep the machine code on disk where there is a place for it."""
    try:
        return njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:  # neither the package's folder nor the user's cache can be written
        return njit(**_OPTIONS)(function)


def _part(function: Callable[..., Any]) -> Any:
    """Make it a part of whoever calls it.

    Were it called as a function, the process that compiles would call its own copy of it, those that read the machine
    code from disk the caller's, and the two need not round alike.
    """
    return njit(forceinline=True, **_OPTIONS)(function)


@_compiled
def render(pictures, unit, flip, box, factors, order, sigma, offsets, bases, turns, inside, side, levels, out):
    """Make every view of a few pictures.

    Args:
        pictures: [B, 3, H, W] uint8 or float32.
        unit: what brings their values to [0, 1].
        flip: as in `Drawn`, like the five that follow.
        box: [B, K, 4].
        factors: [B, K, 4].
        order: [B, K, 4]; [B, K, 0] leaves colours as they are.
        sigma: [B, K].
        offsets: [B, 16, 2].
        bases: [B or 1, 16, S * S] float32, each control point's influence on each pixel (`warp.spline_basis`).
        turns: [K] int64, quarter turns of each view; -1 for the warp.
        inside: hold places inside their boxes.
        side: of the blur's kernel in pixels; 0 for none.
        levels: smoothed copies, as in `geometry.read`.
        out: [B, K, 3, S, S] float32, written to.
    """
    count, _, height, width = pictures.shape
    size = out.shape[-1]
    stack = np.empty((levels + 1, height, 4 * width), np.float32)
    row, line = np.empty(4 * width, np.float32), np.empty(4 * size, np.float32)
    x, y = np.empty(size * size, np.float32), np.empty(size * size, np.float32)
    jitters = order.shape[-1] > 0
    for n in range(count):
        _lay_out(pictures[n], unit, stack[0])
        copies = 1
        for k in range(len(turns)):
            view, flat = out[n, k], out[n, k].reshape(3, size * size)
            level, part = _level(box[n, k], size, levels)
            while copies <= (level + 1 if part > 0 else level):  # copies are made when a view first needs them
                _smoother(stack[copies - 1], stack[copies], 1 << (copies - 1))
                copies += 1
            if turns[k] < 0:
                _warped_places(box[n, k], flip[n], offsets[n], bases[n % len(bases)], inside, size, x, y)
                _read_anywhere(stack, level, part, x, y, flat, line)
            else:
                _straight_places(box[n, k], flip[n], inside, size, x, y)
                _read_straight(stack, level, part, x, y, turns[k], view, row, line)
            if jitters:
                _jitter(flat, factors[n, k], order[n, k])
            if side > 0 and sigma[n, k] > 0:
                _blur(view, sigma[n, k], side)


# where to look


@_part
def _level(box, size, levels):
    """Return between which two copies a view's smoothness lies: the first's number, and how far to the second."""
    shrink = box[2] * box[3] / np.float32(size * size)
    wanted = (max(shrink, _ONE) - _ONE) / np.float32(6)  # variance, square pixels
    level = 0
    while level < levels - 1 and wanted >= (4.0 ** (level + 1) - 1) / 6:
        level += 1
    low, high = (4.0**level - 1) / 6, (4.0 ** (level + 1) - 1) / 6
    return level, np.float32(min((wanted - low) / (high - low), 1.0)) if levels > 0 else _ZERO


@_part
def _held(place, start, length, inside):
    """Return a place in the picture, held inside its box."""
    if not inside:
        return place
    end = start + length - _ONE
    if length < _ONE:  # it shows the pixels that it lies in, whole
        start, end = np.floor(start + _NEAR), np.ceil(end - _NEAR)
    return min(max(place, start), max(start, end))


@_part
def _line(start, length, mirrored, size):
    """Return the first place of a side of the box, and the step to the next."""
    step = length / np.float32(size)
    first = start + step / np.float32(2) - _HALF
    return (first + step * np.float32(size - 1), -step) if mirrored else (first, step)


@_part
def _straight_places(box, flip, inside, size, x, y):
    """Write the places of columns to x[:size] and of rows to y[:size], before any turn."""
    (first_x, step_x), (first_y, step_y) = _line(box[0], box[2], flip, size), _line(box[1], box[3], False, size)
    for i in range(size):
        x[i] = _held(first_x + np.float32(i) * step_x, box[0], box[2], inside)
        y[i] = _held(first_y + np.float32(i) * step_y, box[1], box[3], inside)


@_part
def _warped_places(box, flip, offsets, basis, inside, size, x, y):
    """Write each pixel's place to x and y, [S * S]."""
    for p in range(size * size):
        x[p], y[p] = np.float32(p % size), np.float32(p // size)
    for point in range(len(offsets)):
        dx, dy, influence = offsets[point, 0], offsets[point, 1], basis[point]
        for p in range(size * size):
            x[p] += dx * influence[p]
            y[p] += dy * influence[p]
    (first_x, step_x), (first_y, step_y) = _line(box[0], box[2], flip, size), _line(box[1], box[3], False, size)
    for p in range(size * size):
        x[p] = _held(first_x + x[p] * step_x, box[0], box[2], inside)
        y[p] = _held(first_y + y[p] * step_y, box[1], box[3], inside)


@_part
def _neighbours(place, length):
    """Return the pixels before and after a place, and how far it is from the first to the second."""
    within = min(max(place, _ZERO), np.float32(length - 1))
    before = int(within)
    # Unsigned, so that indexing need not ask whether they count from the end.
    return np.uint32(before), np.uint32(min(before + 1, length - 1)), within - np.float32(before)


# reading


@_part
def _lay_out(picture, unit, to):
    """Write a picture [3, H, W] as rows [H, 4 * W], four numbers a pixel."""
    for i in range(picture.shape[1]):
        red, green, blue, line = picture[0, i], picture[1, i], picture[2, i], to[i]
        for j in range(picture.shape[2]):
            line[4 * j] = red[j] * unit
            line[4 * j + 1] = green[j] * unit
            line[4 * j + 2] = blue[j] * unit
            line[4 * j + 3] = _ZERO


@_part
def _smoother(rows, to, gap):
    """Smooth rows [H, 4 * W] by [1 2 1] / 4 in both directions, the taps `gap` pixels apart, edges repeated."""
    height, width = rows.shape
    step, inner = min(4 * gap, width), max(width - 8 * gap, 0)
    across = np.empty((height, width), np.float32)
    for i in range(height):
        line, out = rows[i], across[i]
        left, middle, right, to_middle = line[:inner], line[step:], line[2 * step :], out[step:]
        for e in range(inner):
            to_middle[e] = _QUARTER * (left[e] + right[e]) + _HALF * middle[e]
        for c in range(4):  # the edges
            for e in range(c, step, 4):
                out[e] = _QUARTER * (line[c] + line[min(e + step, width - 4 + c)]) + _HALF * line[e]
            for e in range(max(width - step, step) + c, width, 4):
                out[e] = _QUARTER * (line[e - step] + line[width - 4 + c]) + _HALF * line[e]
    for i in range(height):
        above, line, below, out = across[max(i - gap, 0)], across[i], across[min(i + gap, height - 1)], to[i]
        for e in range(width):
            out[e] = _QUARTER * (above[e] + below[e]) + _HALF * line[e]


@_part
def _read_straight(stack, level, part, x, y, turns, view, row, line):
    """Read a view whose rows and columns are those of the picture: rows are mixed whole, then read at the columns."""
    height, width, size = stack.shape[1], stack.shape[2] // 4, view.shape[-1]
    before, after, weight = np.empty(size, np.uint32), np.empty(size, np.uint32), np.empty(size, np.float32)
    for j in range(size):
        before[j], after[j], weight[j] = _neighbours(x[j], width)
    low, high = 4 * min(before[0], before[-1]), 4 * max(after[0], after[-1]) + 4
    mixed = row[low:high]
    for i in range(size):
        above, below, w = _neighbours(y[i], height)
        first, second, v = stack[level, above, low:high], stack[level, below, low:high], _ONE - w
        if part > 0:
            third, fourth, rest = stack[level + 1, above, low:high], stack[level + 1, below, low:high], _ONE - part
            for e in range(len(mixed)):
                mixed[e] = v * (rest * first[e] + part * third[e]) + w * (rest * second[e] + part * fourth[e])
        else:
            for e in range(len(mixed)):
                mixed[e] = v * first[e] + w * second[e]
        for j in range(size):
            left, right, w, v = 4 * before[j], 4 * after[j], weight[j], _ONE - weight[j]
            line[4 * j] = v * row[left] + w * row[right]
            line[4 * j + 1] = v * row[left + 1] + w * row[right + 1]
            line[4 * j + 2] = v * row[left + 2] + w * row[right + 2]
            line[4 * j + 3] = v * row[left + 3] + w * row[right + 3]
        _put_row(line, view, i, turns)


@_part
def _put_row(line, view, i, turns):
    """Write a row, four numbers a pixel, to where it lies in the view after counter-clockwise quarter turns."""
    size = view.shape[-1]
    if turns == 0:
        red, green, blue = view[0, i], view[1, i], view[2, i]
        for j in range(size):
            red[j], green[j], blue[j] = line[4 * j], line[4 * j + 1], line[4 * j + 2]
    elif turns == 1:
        for j in range(size):
            for c in range(3):
                view[c, size - 1 - j, i] = line[4 * j + c]
    elif turns == 2:
        for j in range(size):
            for c in range(3):
                view[c, size - 1 - i, size - 1 - j] = line[4 * j + c]
    else:
        for j in range(size):
            for c in range(3):
                view[c, j, size - 1 - i] = line[4 * j + c]


@_part
def _read_anywhere(stack, level, part, x, y, flat, line):
    """Read a view pixel by pixel at places x, y [S * S]."""
    height, width, size = stack.shape[1], stack.shape[2] // 4, len(line) // 4
    for start in range(0, len(x), size):
        for j in range(size):
            left, right, w = _neighbours(x[start + j], width)
            above, below, b = _neighbours(y[start + j], height)
            left, right, v, a = 4 * left, 4 * right, _ONE - w, _ONE - b
            for copy in range(2 if part > 0 else 1):
                first, second = stack[level + copy, above], stack[level + copy, below]
                share = (part if copy else _ONE - part) if part > 0 else _ONE
                w1, w2, w3, w4 = share * v * a, share * w * a, share * v * b, share * w * b
                for c in range(4):
                    found = w1 * first[left + c] + w2 * first[right + c]
                    found += w3 * second[left + c] + w4 * second[right + c]
                    line[4 * j + c] = line[4 * j + c] + found if copy else found
        red, green, blue = flat[0, start:], flat[1, start:], flat[2, start:]
        for j in range(size):
            red[j], green[j], blue[j] = line[4 * j], line[4 * j + 1], line[4 * j + 2]


# colour


@_part
def _clipped(value):
    return min(max(value, _ZERO), _ONE)


@_part
def _jitter(flat, factors, order):
    """Change a view's colours [3, P] in place; as `colour.jitter`."""
    for place in range(4):
        operation = order[place]
        if operation == 0:
            _scale(flat, factors[0], _ZERO)
        elif operation == 1:
            _scale(flat, factors[1], (_ONE - factors[1]) * _mean_grey(flat))
        elif operation == 2:
            _saturate(flat, factors[2])
        else:
            _shift_hue(flat, factors[3])


@_part
def _scale(flat, factor, offset):
    for c in range(3):
        values = flat[c]
        for p in range(len(values)):
            values[p] = _clipped(factor * values[p] + offset)


@_part
def _mean_grey(flat):
    red, green, blue, total = flat[0], flat[1], flat[2], _ZERO
    for p in range(len(red)):
        total += _RED * red[p] + _GREEN * green[p] + _BLUE * blue[p]
    return total / np.float32(len(red))


@_part
def _saturate(flat, factor):
    red, green, blue, rest = flat[0], flat[1], flat[2], _ONE - factor
    for p in range(len(red)):
        r, g, b = red[p], green[p], blue[p]
        pull = rest * (_RED * r + _GREEN * g + _BLUE * b)
        red[p], green[p], blue[p] = (
            _clipped(factor * r + pull),
            _clipped(factor * g + pull),
            _clipped(factor * b + pull),
        )


@_part
def _shift_hue(flat, turns):
    """Turn the hue in HSV's hexagon; as `colour.shift_hue`."""
    red, green, blue = flat[0], flat[1], flat[2]
    third = np.float32(1 / 3)
    for p in range(len(red)):
        r, g, b = red[p], green[p], blue[p]
        first, second = max(g, b), min(g, b)
        high, middle = max(r, first), min(r, first)
        low = min(middle, second)
        six_chroma = np.float32(6) * (high - low)
        swapped = _ONE if g < b else _ZERO
        origin = (swapped + swapped - third if r < first else _ZERO) - swapped
        hue = abs((middle - second) / (six_chroma + np.float32(1e-12)) + origin) + turns + _ONE
        base = low - six_chroma / np.float32(6)
        red[p] = _trapezium(hue, six_chroma, base, low, high)
        green[p] = _trapezium(hue + third + third, six_chroma, base, low, high)
        blue[p] = _trapezium(hue + third, six_chroma, base, low, high)


@_part
def _trapezium(hue, slope, base, low, high):
    return min(max(abs(hue - np.floor(hue) - _HALF) * slope + base, low), high)


# blur


@_part
def _blur(view, sigma, side):
    """Blur a view [3, S, S] in place, edges reflected; as `blur.gaussian_blur`."""
    size, half = view.shape[-1], side // 2
    kernel = np.empty(side, np.float32)
    for tap in range(side):
        kernel[tap] = np.exp(-np.float32((tap - half) ** 2) / (np.float32(2) * sigma * sigma))
    kernel /= kernel.sum()
    padded, across = np.empty(size + 2 * half, np.float32), np.empty((size, size), np.float32)
    for c in range(3):
        for i in range(size):
            line, out = view[c, i], across[i]
            for j in range(-half, size + half):
                padded[j + half] = line[_reflected(j, size)]
            out[:] = _ZERO
            for tap in range(side):
                weight, moved = kernel[tap], padded[tap:]
                for j in range(size):
                    out[j] += weight * moved[j]
        for i in range(size):
            out = view[c, i]
            out[:] = _ZERO
            for tap in range(side):
                weight, line = kernel[tap], across[_reflected(i + tap - half, size)]
                for j in range(size):
                    out[j] += weight * line[j]


@_part
def _reflected(index, size):
    return size - 1 - abs(size - 1 - abs(index))
