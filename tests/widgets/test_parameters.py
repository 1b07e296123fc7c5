"""Validation of notebook parameters."""

import pytest

from codial.errors import CodialError
from codial.widgets.parameters import checked


def test_valid_values_become_attributes():
    p = checked(seed=(3, int), rate=(0.5, float), name=("x", str), fast=(False, bool), limit=(None, int | None))
    assert (p.seed, p.rate, p.name, p.fast, p.limit) == (3, 0.5, "x", False, None)


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (1, float, 1.0),
        (1.0, int, 1),
        ("false", bool, False),  # papermill's value of -p fast false
        ("True", bool, True),
        (5, int | None, 5),
        (2, float | None, 2.0),
        ([1, 2.5], list[float], [1.0, 2.5]),
        ((1, 2), list[int], [1, 2]),
    ],
)
def test_equivalent_values_are_converted(value, kind, expected):
    got = checked(x=(value, kind)).x
    assert got == expected
    assert type(got) is type(expected)


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        ("5", int, "x is '5'; expected a whole number.*looks like a number"),
        ("1e-3", float, "x is '1e-3'; expected a number.*1.0e-3"),
        ("many", int, r"x is 'many'; expected a whole number\.$"),
        (1.5, int, "x is 1.5; expected a whole number"),
        (True, int, "x is True; expected a whole number"),
        (True, float, "x is True; expected a number"),
        (float("nan"), float, "x is nan; expected a number"),
        (None, int, "x is None; expected a whole number"),
        ("x", int | None, "expected a whole number or None"),
        ("no", bool, "x is 'no'; expected true or false"),
        (0, bool, "x is 0; expected true or false"),
        (3, str, "x is 3; expected text"),
        (["a"], str, "expected text"),
        (7, list[int], "x is 7; expected a list, each item a whole number"),
        ([], list[int], r"x is \[\]; expected a list"),
        ([1, "2"], list[int], r"x\[1\] is '2'; expected a whole number"),
    ],
)
def test_other_types_are_refused(value, kind, message):
    with pytest.raises(CodialError, match=message):
        checked(x=(value, kind))


@pytest.mark.parametrize(
    ("value", "kind", "allowed", "message"),
    [
        (0, int, (1, 9), "x is 0; expected a whole number, 1 or more and 9 or less"),
        (10, int, (1, 9), "x is 10"),
        (-1, int, (0, None), r"expected a whole number, 0 or more\.$"),
        (0.7, float, (None, 0.5), r"expected a number, 0.5 or less\.$"),
        ("c", str, ["a", "b"], "expected one of 'a', 'b'"),
        ([1, 99], list[int], (0, 9), r"x\[1\] is 99"),
    ],
)
def test_values_out_of_range_are_refused(value, kind, allowed, message):
    with pytest.raises(CodialError, match=message):
        checked(x=(value, kind, allowed))


@pytest.mark.parametrize(("value", "allowed"), [(1, (1, 9)), (9, (1, 9)), (5, (None, None))])
def test_bounds_are_inclusive(value, allowed):
    assert checked(x=(value, int, allowed)).x == value
