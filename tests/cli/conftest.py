"""What the tests of the commands share: a tiny run, options that make commands fast, and the check of an error."""

import shutil

import pytest

from codial.cli.main import main

TINY = (
    "data.limit=80", "views.size=16", "model.width=0.05", "train.epochs=1", "train.batch=40", "method.z_dim=4",
    "method.critic_hidden=16",
)  # fmt: skip


@pytest.fixture(scope="session")
def tiny_settings():
    """Options that make codial/photos train in a second; without the last two settings they suit every method."""
    return [part for setting in TINY for part in ("--set", setting)]


@pytest.fixture(scope="session")
def fast():
    """Options that make measuring fast and quiet."""
    return ["--limit", "80", "--quiet", "--device", "cpu"]


@pytest.fixture(scope="session")
def trained(tmp_path_factory, tiny_settings):
    """The folder of a tiny run that the command line trained; tests leave it as it is."""
    folder = tmp_path_factory.mktemp("runs") / "photos/codial"
    assert main(["pretrain", "codial/photos", "--out", str(folder), "--quiet", "--device", "cpu", *tiny_settings]) == 0
    return folder


@pytest.fixture
def run(trained, tmp_path):
    """A copy of the tiny run, for reports to be written to."""
    return shutil.copytree(trained, tmp_path / "run")


@pytest.fixture
def error_of(capsys):
    """Call a command that must fail by a mistake of the user; return its error, which must be one line."""

    def call(arguments):
        assert main([str(argument) for argument in arguments]) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith("codial: ")
        assert printed.err.count("\n") == 1
        return printed.err

    return call
