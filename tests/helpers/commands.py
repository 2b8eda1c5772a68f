"""Commands as a user calls them."""

from __future__ import annotations

from click.testing import CliRunner, Result

from pipelines.__main__ import main


def radsynth(*arguments: object) -> Result:
    """Return what ``radsynth ARGUMENTS`` prints and its exit code."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments], prog_name="radsynth")


def assert_refused(result: Result, line: str) -> None:
    """Bad input is told in one line that holds this text."""
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert line in result.stderr
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
