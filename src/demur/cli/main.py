"""The `demur` command: gathers the verbs, and turns errors into messages and exit codes."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from demur.cli.audit import audit
from demur.cli.classify import classify
from demur.cli.doctor import doctor
from demur.cli.explain import explain
from demur.cli.forecast import app as forecast
from demur.cli.phantom import app as phantom
from demur.cli.select import select
from demur.errors import DemurError, IncompleteError

__all__ = ["app", "main"]

# What BSD's sysexits.h calls an internal software error; none of the codes that scripts rely on.
_UNFORESEEN = 70


class _Verbs(TyperGroup):
    """Ends in the documented codes where typer has others of its own."""

    def make_context(self, *args: Any, **extra: Any) -> Any:
        # help and version are printed in here
        with _documented_ends():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]  # typer's own context class is private
        with _documented_ends():
            return super().invoke(ctx)


@contextmanager
def _documented_ends() -> Iterator[None]:
    try:
        yield
    except (KeyboardInterrupt, typer.Abort):
        typer.echo("demur: interrupted", err=True)
        raise typer.Exit(IncompleteError.exit_code) from None
    except BrokenPipeError:
        _reader_left()
    except SystemExit as end:
        # rich ends the process by itself, with the 1 of a failed gate
        if not isinstance(end.__context__, BrokenPipeError):
            raise
        _reader_left()


def _reader_left() -> NoReturn:
    """The reader of our output went away (`| head`); that is its choice and no failure of ours."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    # what is left in the buffers must have somewhere to go when the interpreter ends
    os.dup2(nowhere, sys.stdout.fileno())
    raise typer.Exit from None


app = typer.Typer(
    name="demur",
    cls=_Verbs,
    help="Measure, explain and control how language models refuse.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done · 2 usage or input error · 3 incomplete, --resume will finish it · "
    "4 done, some input rows were set aside.",
)
app.command()(audit)
app.command()(classify)
app.add_typer(forecast, name="forecast")
app.command()(explain)
app.command()(select)
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
    except Exception:  # noqa: BLE001 - whatever it is, not with the 1 of a failed gate, as Python would
        traceback.print_exc()
        sys.exit(_UNFORESEEN)
