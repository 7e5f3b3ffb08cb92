"""``python -m osler`` is ``osler``."""

from __future__ import annotations

import sys

from osler.cli import main

if __name__ == "__main__":
    sys.exit(main())
