"""The `demur` command: gathers the verbs, and turns errors into messages and exit codes."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from demur.cli.audit import audit
from demur.cli.classify import classify
from demur.cli.doctor import doctor
from demur.cli.phantom import app as phantom
from demur.errors import DemurError

__all__ = ["app", "main"]

app = typer.Typer(
    name="demur",
    help="Measure, explain and control how language models refuse.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done · 1 a gate failed · 2 usage or input error · 3 incomplete, --resume will finish it · "
    "4 done, some input rows were set aside.",
)
app.command()(audit)
app.command()(classify)
app.add_typer(phantom, name="phantom")
app.command()(doctor)


def _version(wanted: bool) -> None:
    if wanted:
        import demur

        typer.echo(f"demur {demur.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Measure, explain and control how language models refuse."""


def main() -> None:
    """Entry point of the console script."""
    try:
        app()
    except DemurError as error:
        typer.echo(f"demur: {error}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # the reader of our output went away (`| head`); that is its choice and no failure of ours
        sys.stderr.close()
        sys.exit(0)
