"""The command line: one file a verb, thin over the studies.

Results for people go to stderr; with `--json` one JSON object goes to stdout and nothing else.
"""

from __future__ import annotations

from demur.cli.main import app, main

__all__ = ["app", "main"]
