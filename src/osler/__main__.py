"""The process of ``osler``, which is also ``python -m osler``."""

from __future__ import annotations

import gc
import sys
from typing import NoReturn

from osler.cli import main

__all__ = ["run"]


def run() -> NoReturn:
    """Run the command that the process was started with, and end the process.

    What is left ends with it: the interpreter's last search for garbage among all libraries takes 0.15 s.
    """
    code = main()
    gc.freeze()
    sys.exit(code)


if __name__ == "__main__":
    run()
