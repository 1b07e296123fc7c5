"""Compiled rendering of views on a CPU: one pass per view, which stays in the processor's cache from start to end.

The arithmetic is that of `geometry`, `color_jitter` and `blur`, which run on other devices; results agree up to
rounding. An image is stored as rows of four numbers per pixel (red, green, blue and padding), so that one vector load
reads a pixel. All kernels are in this file, because Numba's cache on disk only notices changes of the file itself.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "reassoc", "nsz", "nnan"}}
_ZERO, _QUARTER, _HALF, _ONE = (np.float32(x) for x in (0, 0.25, 0.5, 1))
_TOLERANCE = np.float32(1e-4)  # `geometry.TOLERANCE`
_RED, _GREEN, _BLUE = (np.float32(x) for x in (0.2989, 0.587, 0.114))  # `color_jitter.GRAY_WEIGHTS`


def _compiled(function: Callable[..., Any]) -> Any:
    """Compile at the first call, and cache the machine code on disk where there is a writable folder."""
    try:
        return njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:  # neither the package's folder nor the user's cache is writable
        return njit(**_OPTIONS)(function)


def _inlined(function: Callable[..., Any]) -> Any:
    """Compile as a part of the caller.

    As separate functions, the process that compiles would call its own copy, and processes that load the machine code
    from disk the caller's; the two may round differently.
    """
    return njit(forceinline=True, **_OPTIONS)(function)


@_compiled
def render(
    images, unit, flip, box, factors, order, sigma, offsets, bases, rotations, replicate, kernel_size, levels, out
):
    """Render every view of some images.

    Args:
        images: [B, 3, H, W] uint8 or float32.
        unit: factor that scales their values to [0, 1].
        flip: [B], as the following five in `ViewParams`.
        box: [B, K, 4].
        factors: [B, K, 4].
        order: [B, K, 4]; [B, K, 0] for no color changes.
        sigma: [B, K].
        offsets: [B, 16, 2].
        bases: [B or 1, 16, S * S] float32, weight of each control point at each pixel (`warp.spline_basis`).
        rotations: [K] int64, number of rotations by 90 degrees of each view; -1 for the warp.
        replicate: whether to replicate the edge of a crop box beyond it.
        kernel_size: side of the blur's kernel in pixels; 0 for no blur.
        levels: number of smoothed copies, `geometry.pyramid_levels`.
        out: [B, K, 3, S, S] float32, the result.
    """
    count, _, height, width = images.shape
    size = out.shape[-1]
    pyramid = np.empty((levels + 1, height, 4 * width), np.float32)
    row, line = np.empty(4 * width, np.float32), np.empty(4 * size, np.float32)
    x, y = np.empty(size * size, np.float32), np.empty(size * size, np.float32)
    jitters = order.shape[-1] > 0
    for n in range(count):
        _interleave(images[n], unit, pyramid[0])
        copies = 1
        for k in range(len(rotations)):
            view, flat = out[n, k], out[n, k].reshape(3, size * size)
            level, blend = _level(box[n, k], size, levels)
            while copies <= (level + 1 if blend > 0 else level):  # a copy is made when a view first needs it
                _smooth(pyramid[copies - 1], pyramid[copies], 1 << (copies - 1))
                copies += 1
            if rotations[k] < 0:
                _warped_coordinates(box[n, k], flip[n], offsets[n], bases[n % len(bases)], replicate, size, x, y)
                _sample_anywhere(pyramid, level, blend, x, y, flat, line)
            else:
                _straight_coordinates(box[n, k], flip[n], replicate, size, x, y)
                _sample_straight(pyramid, level, blend, x, y, rotations[k], view, row, line)
            if jitters:
                _jitter(flat, factors[n, k], order[n, k])
            if kernel_size > 0 and sigma[n, k] > 0:
                _blur(view, sigma[n, k], kernel_size)


# Coordinates


@_inlined
def _level(box, size, levels):
    """Return the level of the pyramid before a view's smoothness, and the weight of the level after it."""
    downscale = box[2] * box[3] / np.float32(size * size)
    variance = (max(downscale, _ONE) - _ONE) / np.float32(6)  # square pixels
    level = 0
    while level < levels - 1 and variance >= (4.0 ** (level + 1) - 1) / 6:
        level += 1
    low, high = (4.0**level - 1) / 6, (4.0 ** (level + 1) - 1) / 6
    return level, np.float32(min((variance - low) / (high - low), 1.0)) if levels > 0 else _ZERO


@_inlined
def _clamped(position, start, length, replicate):
    """Return an image coordinate, clamped to its box if its edge is replicated, as `geometry.clamp_to_boxes`."""
    if not replicate:
        return position
    end = start + length - _ONE
    if length < _ONE:
        start, end = np.floor(start + _TOLERANCE), np.ceil(end - _TOLERANCE)
    return min(max(position, start), max(start, end))


@_inlined
def _line(start, length, flipped, size):
    """Return the first coordinate along a side of the box, and the step to the next."""
    step = length / np.float32(size)
    first = start + step / np.float32(2) - _HALF
    return (first + step * np.float32(size - 1), -step) if flipped else (first, step)


@_inlined
def _straight_coordinates(box, flip, replicate, size, x, y):
    """Write the coordinates of columns to x[:size] and of rows to y[:size], before any rotation."""
    (first_x, step_x), (first_y, step_y) = _line(box[0], box[2], flip, size), _line(box[1], box[3], False, size)
    for i in range(size):
        x[i] = _clamped(first_x + np.float32(i) * step_x, box[0], box[2], replicate)
        y[i] = _clamped(first_y + np.float32(i) * step_y, box[1], box[3], replicate)


@_inlined
def _warped_coordinates(box, flip, offsets, basis, replicate, size, x, y):
    """Write the coordinates of each pixel of a warped view to x and y, [S * S]."""
    for p in range(size * size):
        x[p], y[p] = np.float32(p % size), np.float32(p // size)
    for point in range(len(offsets)):
        dx, dy, weight = offsets[point, 0], offsets[point, 1], basis[point]
        for p in range(size * size):
            x[p] += dx * weight[p]
            y[p] += dy * weight[p]
    (first_x, step_x), (first_y, step_y) = _line(box[0], box[2], flip, size), _line(box[1], box[3], False, size)
    for p in range(size * size):
        x[p] = _clamped(first_x + x[p] * step_x, box[0], box[2], replicate)
        y[p] = _clamped(first_y + y[p] * step_y, box[1], box[3], replicate)


@_inlined
def _neighbors(position, length):
    """Return the pixels before and after a coordinate, and its distance from the first."""
    clipped = min(max(position, _ZERO), np.float32(length - 1))
    before = int(clipped)
    # Unsigned, so that indexing needs no test for negative indices.
    return np.uint32(before), np.uint32(min(before + 1, length - 1)), clipped - np.float32(before)


# Sampling


@_inlined
def _interleave(image, unit, to):
    """Write an image [3, H, W] as rows [H, 4 * W], four numbers per pixel."""
    for i in range(image.shape[1]):
        red, green, blue, line = image[0, i], image[1, i], image[2, i], to[i]
        for j in range(image.shape[2]):
            line[4 * j] = red[j] * unit
            line[4 * j + 1] = green[j] * unit
            line[4 * j + 2] = blue[j] * unit
            line[4 * j + 3] = _ZERO


@_inlined
def _smooth(rows, to, gap):
    """Smooth rows [H, 4 * W] by [1 2 1] / 4 in both directions, with taps `gap` pixels apart and replicated edges."""
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


@_inlined
def _sample_straight(pyramid, level, blend, x, y, rotation, view, row, line):
    """Sample a view whose axes are those of the image: interpolate rows first, then columns."""
    height, width, size = pyramid.shape[1], pyramid.shape[2] // 4, view.shape[-1]
    before, after, weight = np.empty(size, np.uint32), np.empty(size, np.uint32), np.empty(size, np.float32)
    for j in range(size):
        before[j], after[j], weight[j] = _neighbors(x[j], width)
    low, high = 4 * min(before[0], before[-1]), 4 * max(after[0], after[-1]) + 4
    mixed = row[low:high]
    for i in range(size):
        above, below, w = _neighbors(y[i], height)
        first, second, v = pyramid[level, above, low:high], pyramid[level, below, low:high], _ONE - w
        if blend > 0:
            third, fourth = pyramid[level + 1, above, low:high], pyramid[level + 1, below, low:high]
            rest = _ONE - blend
            for e in range(len(mixed)):
                mixed[e] = v * (rest * first[e] + blend * third[e]) + w * (rest * second[e] + blend * fourth[e])
        else:
            for e in range(len(mixed)):
                mixed[e] = v * first[e] + w * second[e]
        for j in range(size):
            left, right, w, v = 4 * before[j], 4 * after[j], weight[j], _ONE - weight[j]
            line[4 * j] = v * row[left] + w * row[right]
            line[4 * j + 1] = v * row[left + 1] + w * row[right + 1]
            line[4 * j + 2] = v * row[left + 2] + w * row[right + 2]
            line[4 * j + 3] = v * row[left + 3] + w * row[right + 3]
        _write_row(line, view, i, rotation)


@_inlined
def _write_row(line, view, i, rotation):
    """Write a row, four numbers per pixel, to its place in the view after counter-clockwise rotations by 90 degrees."""
    size = view.shape[-1]
    if rotation == 0:
        red, green, blue = view[0, i], view[1, i], view[2, i]
        for j in range(size):
            red[j], green[j], blue[j] = line[4 * j], line[4 * j + 1], line[4 * j + 2]
    elif rotation == 1:
        for j in range(size):
            for c in range(3):
                view[c, size - 1 - j, i] = line[4 * j + c]
    elif rotation == 2:
        for j in range(size):
            for c in range(3):
                view[c, size - 1 - i, size - 1 - j] = line[4 * j + c]
    else:
        for j in range(size):
            for c in range(3):
                view[c, j, size - 1 - i] = line[4 * j + c]


@_inlined
def _sample_anywhere(pyramid, level, blend, x, y, flat, line):
    """Sample a view pixel by pixel at coordinates x, y [S * S]."""
    height, width, size = pyramid.shape[1], pyramid.shape[2] // 4, len(line) // 4
    for start in range(0, len(x), size):
        for j in range(size):
            left, right, w = _neighbors(x[start + j], width)
            above, below, b = _neighbors(y[start + j], height)
            left, right, v, a = 4 * left, 4 * right, _ONE - w, _ONE - b
            for copy in range(2 if blend > 0 else 1):
                first, second = pyramid[level + copy, above], pyramid[level + copy, below]
                share = (blend if copy else _ONE - blend) if blend > 0 else _ONE
                w1, w2, w3, w4 = share * v * a, share * w * a, share * v * b, share * w * b
                for c in range(4):
                    value = w1 * first[left + c] + w2 * first[right + c]
                    value += w3 * second[left + c] + w4 * second[right + c]
                    line[4 * j + c] = line[4 * j + c] + value if copy else value
        red, green, blue = flat[0, start:], flat[1, start:], flat[2, start:]
        for j in range(size):
            red[j], green[j], blue[j] = line[4 * j], line[4 * j + 1], line[4 * j + 2]


# Colors


@_inlined
def _clipped(value):
    return min(max(value, _ZERO), _ONE)


@_inlined
def _jitter(flat, factors, order):
    """Change the colors of a view [3, P] in place, as `color_jitter.jitter`."""
    for step in range(4):
        operation = order[step]
        if operation == 0:
            _scale(flat, factors[0], _ZERO)
        elif operation == 1:
            _scale(flat, factors[1], (_ONE - factors[1]) * _mean_gray(flat))
        elif operation == 2:
            _saturate(flat, factors[2])
        else:
            _shift_hue(flat, factors[3])


@_inlined
def _scale(flat, factor, offset):
    for c in range(3):
        values = flat[c]
        for p in range(len(values)):
            values[p] = _clipped(factor * values[p] + offset)


@_inlined
def _mean_gray(flat):
    red, green, blue, total = flat[0], flat[1], flat[2], _ZERO
    for p in range(len(red)):
        total += _RED * red[p] + _GREEN * green[p] + _BLUE * blue[p]
    return total / np.float32(len(red))


@_inlined
def _saturate(flat, factor):
    red, green, blue, rest = flat[0], flat[1], flat[2], _ONE - factor
    for p in range(len(red)):
        r, g, b = red[p], green[p], blue[p]
        gray = rest * (_RED * r + _GREEN * g + _BLUE * b)
        red[p], green[p], blue[p] = (
            _clipped(factor * r + gray),
            _clipped(factor * g + gray),
            _clipped(factor * b + gray),
        )


@_inlined
def _shift_hue(flat, shift):
    """Shift the hue in HSV, as `color_jitter.shift_hue`."""
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
        hue = abs((middle - second) / (six_chroma + np.float32(1e-12)) + origin) + shift + _ONE
        base = low - six_chroma / np.float32(6)
        red[p] = _trapezoid(hue, six_chroma, base, low, high)
        green[p] = _trapezoid(hue + third + third, six_chroma, base, low, high)
        blue[p] = _trapezoid(hue + third, six_chroma, base, low, high)


@_inlined
def _trapezoid(hue, slope, base, low, high):
    return min(max(abs(hue - np.floor(hue) - _HALF) * slope + base, low), high)


# Blur


@_inlined
def _blur(view, sigma, side):
    """Blur a view [3, S, S] in place, with reflected borders, as `blur.gaussian_blur`."""
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
                weight, shifted = kernel[tap], padded[tap:]
                for j in range(size):
                    out[j] += weight * shifted[j]
        for i in range(size):
            out = view[c, i]
            out[:] = _ZERO
            for tap in range(side):
                weight, line = kernel[tap], across[_reflected(i + tap - half, size)]
                for j in range(size):
                    out[j] += weight * line[j]


@_inlined
def _reflected(index, size):
    return size - 1 - abs(size - 1 - abs(index))
