"""Names and defaults that the options repeat, because importing them takes too long, are those of the package."""

import typing

import pytest

from codial.cli.inputs import split_names
from codial.cli.probe import ProtocolName
from codial.cli.transfer import TASKS, TaskName
from codial.evaluate import PROTOCOLS


def test_protocols_are_those_of_the_probes():
    assert typing.get_args(ProtocolName) == tuple(PROTOCOLS)


def test_tasks_are_those_of_transfer():
    assert typing.get_args(TaskName) == tuple(TASKS)


@pytest.mark.parametrize("text", ["a,b", " a , b ", "a,,b,"])
def test_names_are_separated_by_commas(text):
    assert split_names(text) == ("a", "b")
