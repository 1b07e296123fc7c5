"""The command line, `codial COMMAND`: a thin layer over the functions that the notebooks call."""

from codial.cli.commands import main

__all__ = ["main"]
