"""docs/command-line.md shows what the commands print.

Numbers may differ between machines, and words break into other lines in other Pythons; all else is
compared. ``python tests/test_cli_page.py`` writes the present output into the page.
"""

import contextlib
import io
import os
import re
import shlex
import tempfile
from pathlib import Path

import pytest
from threadpoolctl import threadpool_limits

import fastbp
from fastbp.__main__ import main

PAGE = Path(__file__).resolve().parents[1] / "docs" / "command-line.md"
CONSOLE = re.compile(r"(?<=^```console\n)(.*?)(?=^```$)", re.MULTILINE | re.DOTALL)


def commands(block):
    """(command, output) of each command of a block."""
    parts = re.split(r"^\$ (.*)\n", block, flags=re.MULTILINE)
    assert parts[0] == ""
    return list(zip(parts[1::2], parts[2::2], strict=True))


def printed(command):
    """What a command prints: standard error, then standard output."""
    command, _, filter_ = command.partition(" | head -")
    program, *arguments = shlex.split(command)
    out, error = io.StringIO(), io.StringIO()
    # Boosted trees of few rows need a hundred times longer if threads wait for a core.
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error), threadpool_limits(1):
        if program == "python":
            exec(arguments[1], {})
        else:
            with contextlib.suppress(SystemExit):
                main(arguments)
    lines = out.getvalue().splitlines(keepends=True)
    return error.getvalue() + "".join(lines[: int(filter_)] if filter_ else lines)


def comparable(text):
    return re.sub(r"[-\s]+", " ", re.sub(r"[\d.,]*\d", "0", text)).strip()


@pytest.mark.skipif(
    bool(os.environ.get("FASTBP_DENSE")), reason="products by BLAS have other plans"
)
def test_the_page_shows_what_commands_print(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    shown = [pair for block in CONSOLE.findall(PAGE.read_text()) for pair in commands(block)]
    assert len(shown) > 10
    for command, output in shown:
        assert comparable(printed(command)) == comparable(output), command
    namespace = {}
    exec(re.search(r"^```py\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)[1], namespace)
    assert isinstance(namespace["estimator"], fastbp.TabularClassifier)
    assert (namespace["target"], len(namespace["columns"])) == ("target", 30)


def test_the_page_has_every_command_and_exit_code():
    text = PAGE.read_text()
    for command in ("demo", "fit", "predict", "export", "info", "plan"):
        assert f"\n## {command}\n" in text
    assert re.findall(r"^\| (\d+) \|", text, re.MULTILINE) == ["0", "2", "130", "141"]


def write_outputs():
    """Put what every command prints now into the page."""
    os.environ["COLUMNS"] = "80"

    def filled(block):
        outputs = (f"$ {command}\n{printed(command)}" for command, _ in commands(block[1]))
        return "\n".join(outputs) if block[1].count("\n$ ") else "".join(outputs)

    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        PAGE.write_text(CONSOLE.sub(filled, PAGE.read_text()))


if __name__ == "__main__":
    write_outputs()
