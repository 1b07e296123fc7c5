"""Entry point of the command line: the commands, exit codes, and how errors and warnings are printed."""

import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

import codial
from codial.cli import (
    compare,
    data,
    embed,
    export,
    figure,
    pretrain,
    probe,
    publish,
    push,
    reproduce,
    retrieve,
    runs,
    shortcuts,
    sweep,
    table,
    transfer,
)
from codial.cli.output import FAILED, INTERRUPTED, OK, print_error
from codial.errors import CodialError
from codial.utils.machine_errors import explain_machine_error
from codial.utils.plugins import import_file
from codial.utils.signals import interrupted_by_signals

_COMMANDS: dict[str, tuple[Callable[..., Any], str]] = {
    "pretrain": (pretrain.pretrain, pretrain.EXAMPLES),
    "probe": (probe.probe, probe.EXAMPLES),
    "retrieve": (retrieve.retrieve, retrieve.EXAMPLES),
    "compare": (compare.compare, compare.EXAMPLES),
    "shortcuts": (shortcuts.shortcuts, shortcuts.EXAMPLES),
    "export": (export.export, export.EXAMPLES),
    "push": (push.push, push.EXAMPLES),
    "table": (table.table, table.EXAMPLES),
    "figure": (figure.figure, figure.EXAMPLES),
    "sweep": (sweep.sweep, sweep.EXAMPLES),
    "reproduce": (reproduce.reproduce, reproduce.EXAMPLES),
    "embed": (embed.embed, embed.EXAMPLES),
    "transfer": (transfer.transfer, transfer.EXAMPLES),
    "data": (data.data, data.EXAMPLES),
    "runs": (runs.runs, runs.EXAMPLES),
    "publish": (publish.publish, publish.EXAMPLES),
}
_START = """\
To begin with, on the photographs that come with the package:

\b
  codial pretrain codial/photos      # about a minute on two CPU cores
  codial pretrain random/photos      # the same network, untrained
  codial probe runs/photos/codial runs/photos/random

`codial COMMAND --help` explains a command and gives examples.

Exit codes: 0 done; 2 failed, with a message; 130 stopped by Ctrl-C, SIGTERM,
SIGUSR1 and the like, or by a time limit: the same command continues."""
_COMPLETION = "_CODIAL_COMPLETE"  # set by the shell that asks for completions

# The class of all usage errors; Typer exports only this subclass.
_UsageError: Any = typer.BadParameter.__base__

app = typer.Typer(
    name="codial",
    epilog=_START,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"codial {codial.__version__}")
        raise typer.Exit


@app.callback()
def _codial(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    plugin: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            envvar="CODIAL_PLUGINS",
            help="Python file that registers methods, backbones, data sets or loggers of your own; repeatable.",
        ),
    ] = None,
) -> None:
    """Self-supervised learning by concurrent discrimination and alignment (CODIAL).

    A run is a folder with its config, history, checkpoints and provenance. `pretrain` creates one from images, without
    using labels; `probe`, `retrieve`, `compare` and `embed` measure how good its features are.
    """
    for file in plugin or ():
        import_file(file)


for _name, (_command, _examples) in _COMMANDS.items():
    app.command(_name, epilog=f"Examples:\n\n\b\n{_examples}")(_command)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        argv: arguments; those of the process if None. Without any, the help is printed.

    Returns:
        0 for success, 2 after an error that was printed as one message, 130 after Ctrl-C, SIGTERM, SIGUSR1 and the
        like (`codial.utils.signals`), or a time limit; the same command continues then.
    """
    _open_closed_streams()
    arguments = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    if _COMPLETION in os.environ:
        app(arguments, prog_name="codial")
    with _printed_warnings(), interrupted_by_signals():
        try:
            code = _run([*arguments])  # which are consumed
            sys.stdout.flush()
            return code
        except BrokenPipeError as error:
            return _closed_pipe(error)
        except KeyboardInterrupt:
            print_error("interrupted.")
            return INTERRUPTED
        except _UsageError as error:
            command = " ".join(["codial", *[name for name in arguments if name in _COMMANDS][:1]])
            message = error.format_message()
            print_error(f"{message}{'' if message.endswith(('.', '?')) else '.'} See `{command} --help`.")
        except (CodialError, OSError) as error:
            print_error(explain_machine_error(error) or error)
        except Exception as error:
            if not (message := explain_machine_error(error)):
                raise
            print_error(message)
        return FAILED


def _open_closed_streams() -> None:
    """Write to nowhere what would go to a stream that the shell has closed (`>&-`), for which Python has None."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115, until the process ends


def _run(arguments: list[str]) -> int:
    command = typer.main.get_command(app)
    try:
        with command.make_context("codial", arguments) as context:
            return command.invoke(context) or OK
    except typer.Exit as end:
        return end.exit_code


@contextmanager
def _printed_warnings() -> Iterator[None]:
    """Print the package's warnings as one line each."""
    with warnings.catch_warnings():
        warnings.filterwarnings("always", module="codial")
        warnings.showwarning = lambda message, *_, **__: print_error(f"warning: {message}")
        yield


def _closed_pipe(error: BrokenPipeError) -> int:
    """Return 0 if the reader of stdout, such as `head`, has closed it; any other broken pipe is an error."""
    try:
        print(flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the rest of the buffer
        return OK
    print_error(error)
    return FAILED
