"""Validation of notebook parameters."""

import linecache

import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from codial.errors import CodialError
from codial.widgets.parameters import checked

CELL = """
seed: int = 3  # help
rate: float = 0.5
name: str = "a: b"
limit: int | None = None
numbers: list[int] = [1, 2]
"""


def check(value, kind, *allowed):
    """Return the checked value of the only parameter, x, of a notebook."""
    ranges = {"x": allowed[0]} if allowed else {}
    return checked({"x": value, "__annotations__": {"x": kind}}, **ranges).x


def run_cells(*cells):
    """Return the variables of a notebook after its cells have been run."""
    shell = InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}))
    for cell in cells:
        shell.run_cell(cell).raise_error()
    return shell.user_ns


def test_parameters_of_a_notebook_are_its_annotated_variables():
    p = checked(run_cells("other = 1", CELL), seed=(0, None))
    assert vars(p) == {"seed": 3, "rate": 0.5, "name": "a: b", "limit": None, "numbers": [1, 2]}


def test_values_injected_by_papermill_are_checked_too():
    assert checked(run_cells(CELL, "seed = 7\nlimit = 5")).seed == 7
    with pytest.raises(CodialError, match="seed is '7'; expected a whole number"):
        checked(run_cells(CELL, "seed = '7'"))


def test_a_parameter_that_was_deleted_from_its_cell_is_left_out():
    assert "seed" not in vars(checked(run_cells(CELL, "del seed")))


def test_annotations_are_found_where_python_evaluates_them_on_request(monkeypatch):
    monkeypatch.setitem(linecache.cache, "cell-of-parameters", (len(CELL), None, CELL.splitlines(True), ""))
    values = {"seed": 1, "rate": 2, "name": "n", "limit": None, "numbers": [3]}
    # As in Python 3.14, the namespace has a function for the last annotation only.
    exec(compile("def __annotate__(format): pass", "cell-of-parameters", "exec"), values)
    assert checked(values, seed=(0, None)).rate == 2.0
    with pytest.raises(CodialError, match=r"numbers\[0\] is 'x'"):
        checked(values | {"numbers": ["x"]})


def test_a_range_of_something_that_is_no_parameter_is_refused():
    with pytest.raises(CodialError, match="name of a parameter is 'sed'; expected one of seed, rate, name"):
        checked(run_cells(CELL), sed=(0, None))


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
    got = check(value, kind)
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
        check(value, kind)


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
        check(value, kind, allowed)


@pytest.mark.parametrize(("value", "allowed"), [(1, (1, 9)), (9, (1, 9)), (5, (None, None))])
def test_bounds_are_inclusive(value, allowed):
    assert check(value, int, allowed) == value
