"""The command line: each subcommand is one file that parses its options and calls the workflow of the same name."""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``osler`` with ``arguments`` (the process's own when None).

    Returns:
        The exit code: 0, 1 or 2 as ``osler.cli.outcome`` says, 130 after a second Ctrl-C.
    """
    from typer import Abort, TyperException

    from osler.cli.app import app
    from osler.cli.outcome import report_error
    from osler.errors import UsageError

    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = app(given, prog_name="osler", standalone_mode=False)
    except TyperException as error:
        problem = error.format_message().rstrip(".")
        if not problem:  # without a command the help is shown instead
            return 2
        return report_error(UsageError(problem, remedy="see osler --help"), as_json="--json" in given)
    except Abort:
        return 130
    return code if isinstance(code, int) else 0
