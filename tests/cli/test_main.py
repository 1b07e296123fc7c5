"""The entry point: help, exit codes, one-line errors, warnings, closed pipes, and answers without torch."""

import importlib
import inspect
import os
import re
import signal
import subprocess
import sys
import warnings

import pytest

from codial import __version__
from codial.cli.main import _COMMANDS, main
from codial.errors import CodialError

CODIAL = [sys.executable, "-m", "codial"]
# Imports that make an answer slow; the file is run as the command line, and fails if it imported any.
WITHOUT_TORCH = """
import sys
from codial.cli.main import main
code = main(sys.argv[1:])
heavy = sorted({"torch", "numba", "matplotlib", "pandas", "sklearn", "scipy"} & set(sys.modules))
sys.exit(f"imported {heavy}" if heavy else code)
"""


def replaced(monkeypatch, command, error):
    """Let a command raise an error, or call a function."""

    def fail(*_):
        if callable(error) and not isinstance(error, type):
            return error()
        raise error

    monkeypatch.setattr("codial.cli.main._run", fail)
    return main([command])


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_lists_every_command_with_a_sentence(arguments, capsys):
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) < 80
    for command in _COMMANDS:
        assert any(re.fullmatch(rf"  {command} +[A-Z].*[^.]\.", line) for line in lines), command


@pytest.mark.parametrize("command", _COMMANDS)
def test_help_of_a_command_explains_it_and_gives_examples(command, capsys):
    assert main([command, "--help"]) == 0
    text = capsys.readouterr().out
    lines = text.splitlines()
    assert lines[0].startswith(f"Usage: codial {command} ")
    assert max(map(len, lines)) <= 80
    examples = text.split("Examples:")[1]
    assert re.search(rf"^    codial {command}", examples, re.MULTILINE)


@pytest.mark.parametrize("command", _COMMANDS)
def test_every_command_has_a_module_of_its_name(command):
    module = importlib.import_module(f"codial.cli.{command}")
    assert inspect.getmodule(_COMMANDS[command][0]) is module
    assert _COMMANDS[command][1] is module.EXAMPLES


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"codial {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["prtrain"], "No such command 'prtrain'. Did you mean 'pretrain'? See `codial --help`."),
        (["--frobnicate"], "No such option: --frobnicate. See `codial --help`."),
        (["probe"], "Missing argument 'RUN'. See `codial probe --help`."),
        (["probe", "x", "--epoch", "3"], "No such option: --epoch (Possible options: --epochs)"),
        (["retrieve", "x", "--k"], "Option '--k' requires an argument. See `codial retrieve --help`."),
        (["retrieve", "x", "--k", "seven"], "Invalid value for '--k': Input should be a valid integer"),
        (["retrieve", "x", "--k", "9" * 30 + "x"], "Invalid value for '--k'"),
        (["retrieve", "x", "--k", "0"], "Invalid value for '--k': Input should be greater than or equal to 1. See"),
        (["retrieve", "x", "--seed", "-1"], "Invalid value for '--seed'"),
        (["probe", "x", "--limit", "1.5"], "Invalid value for '--limit'"),
        (["probe", "x", "--seeds", "0"], "Invalid value for '--seeds'"),
        (["probe", "x", "--protocol", "linear"], "'linear' is not one of 'codial', 'zhang', 'globstat'"),
        (["data", "fetch"], "'fetch' is not one of 'list', 'get', 'check'"),
        (["runs", "a", "b"], "Got unexpected extra argument"),
        (["table", "4"], "Invalid value for 'N': Input should be less than or equal to 3"),
        (["figure", "1", "--out", "x.png"], "Invalid value for 'N'"),
        (["figure", "2"], "Missing option '--out'"),
    ],
)
def test_a_usage_error_is_one_line(arguments, expected, error_of):
    assert expected in error_of(arguments)


@pytest.mark.parametrize("command", ["probe", "retrieve", "compare", "table 2", "transfer detection", "publish"])
def test_commands_on_runs_refuse_a_folder_that_is_no_run(command, tmp_path, error_of):
    (tmp_path / "é t").mkdir()
    assert f"{tmp_path / 'é t'} is not a run: it has no config.json." in error_of([*command.split(), tmp_path / "é t"])


def test_errors_of_the_package_and_of_the_system_are_one_line(monkeypatch, capsys):
    assert replaced(monkeypatch, "runs", CodialError("two\nlines")) == 2
    assert capsys.readouterr().err == "codial: two lines\n"
    assert replaced(monkeypatch, "runs", PermissionError(13, "Permission denied", "/locked")) == 2
    assert capsys.readouterr().err == "codial: [Errno 13] Permission denied: '/locked'\n"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            RuntimeError("CUDA error: CUDA-capable device(s) is/are busy or unavailable\nCompile with"),
            "The GPU is busy",
        ),
        (
            RuntimeError("The NVIDIA driver on your system is too old (found version 11040). Please"),
            "supports CUDA 11.4",
        ),
        (OSError(28, "No space left on device", "/dev/shm/x"), "no space in shared memory, /dev/shm"),
        (MemoryError(), "too little free memory"),
    ],
)
def test_faults_of_the_machine_are_one_line(error, expected, monkeypatch, capsys):
    assert replaced(monkeypatch, "runs", error) == 2
    printed = capsys.readouterr().err
    assert expected in printed
    assert printed.count("\n") == 1


def test_other_errors_are_raised(monkeypatch):
    with pytest.raises(ZeroDivisionError):
        replaced(monkeypatch, "runs", ZeroDivisionError())


def test_ctrl_c_returns_130(monkeypatch, capsys):
    assert replaced(monkeypatch, "runs", KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == "codial: interrupted.\n"


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"])
def test_a_signal_during_a_command_returns_130(name, monkeypatch, tmp_path, capsys):
    signum = getattr(signal, name)
    monkeypatch.setattr("codial.cli.runs.list_summaries", lambda root: signal.raise_signal(signum))
    before = signal.getsignal(signum)
    assert main(["runs", str(tmp_path)]) == 130
    assert capsys.readouterr().err == "codial: interrupted.\n"
    assert signal.getsignal(signum) == before


def test_warnings_are_one_line_and_the_filters_stay(monkeypatch, capsys):
    before = warnings.filters[:]
    assert replaced(monkeypatch, "runs", lambda: warnings.warn("mind\nthe gap", stacklevel=1)) is None
    assert capsys.readouterr().err == "codial: warning: mind the gap\n"
    assert warnings.filters == before


def test_a_broken_pipe_that_is_not_stdout_is_an_error(monkeypatch, capsys):
    assert replaced(monkeypatch, "runs", BrokenPipeError(32, "Broken pipe")) == 2
    assert capsys.readouterr().err == "codial: [Errno 32] Broken pipe\n"


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_closed_pipe_ends_quietly(unbuffered):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*CODIAL, "data", "list"],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")
@pytest.mark.parametrize(
    ("arguments", "streams", "code", "expected"),
    [
        ("data list", ">&-", 0, ""),
        ("data list", "> /dev/full", 2, "codial: [Errno 28] No space left on device\n"),
        ("probe nowhere", "2>&-", 2, ""),
        ("probe nowhere", "2> /dev/full", 2, ""),
        ("probe nowhere", "< /dev/null >&- 2>&-", 2, ""),
    ],
)
def test_closed_and_full_streams_are_no_traceback(arguments, streams, code, expected):
    shell = f'"$0" -m codial {arguments} {streams}'
    done = subprocess.run(["bash", "-c", shell, sys.executable], stderr=subprocess.PIPE, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (code, expected)


def test_the_module_runs_as_the_script_does():
    done = subprocess.run([*CODIAL, "probe", "nowhere"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("codial: nowhere is not a run")


def test_a_shell_gets_completions():
    environment = os.environ | {"_CODIAL_COMPLETE": "complete_bash", "COMP_WORDS": "codial pub", "COMP_CWORD": "1"}
    done = subprocess.run(CODIAL, capture_output=True, text=True, timeout=60, env=environment)
    assert done.stdout.split() == ["publish"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--help"], 0),
        (["--version"], 0),
        (["pretrain", "--help"], 0),
        (["runs", "results/weights"], 0),
        (["data", "list"], 0),
        (["nonsense"], 2),
        (["pretrain", "--epochs", "3"], 2),
        (["pretrain", "codial/photo"], 2),
        (["pretrain", "kodial/photos"], 2),
        (["pretrain", "codial/photos", "--set", "train.epochs"], 2),
        (["sweep", "codial/photo"], 2),
        (["shortcuts", "codial/photo"], 2),
        (["probe", "nowhere"], 2),
        (["embed", "nowhere", "--out", "x.npz"], 2),
        (["export", "nowhere"], 2),
        (["push", "nowhere", "me/birds"], 2),
        (["push", "results/weights/codial-cifar10", "birds"], 2),
        (["figure", "4", "nowhere", "--out", "x.png"], 2),
        (["transfer", "classification", "nowhere"], 2),
        (["reproduce", "cifar10", "--budget", "large"], 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_quick_answers_import_nothing_heavy(arguments, code):
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stderr
