"""`demur doctor`: what is installed, what each extra adds, what is missing and how to get it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["doctor"]


def doctor(
    model: Annotated[
        str | None, typer.Argument(help="A local model to look into: phantom, a path, or a hub id.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> None:
    """Say what is installed and what is missing; with a model, what demur finds inside it."""
    from demur.studies.doctor import examine, look_inside

    report: dict[str, Any] = examine()
    if model is not None:
        report["model"] = look_inside(model)
    if as_json:
        typer.echo(json.dumps(report))
        return
    from rich.console import Console

    _tell(Console(stderr=True), report)


def _tell(console: Console, report: dict[str, Any]) -> None:
    from rich.markup import escape
    from rich.table import Table

    console.print(f"demur {report['demur']} on Python {report['python']}, {report['platform']}", markup=False)
    table = Table()
    for column in ("extra", "what it adds", "state", "packages"):
        table.add_column(column)
    for name, extra in report["extras"].items():
        packages = ", ".join(f"{package} {version or '(missing)'}" for package, version in extra["packages"].items())
        state = "[green]ready[/green]" if extra["ready"] else "[yellow]missing[/yellow]"
        table.add_row(escape(name), escape(extra["adds"]), state, escape(packages))
    console.print(table)
    for name, program in report["programs"].items():
        console.print(
            f"{name}: {program['path'] or 'not found; ' + program['get']} ({program['adds']})",
            highlight=False,
            markup=False,
        )
    for name, extra in report["extras"].items():
        if not extra["ready"]:
            console.print(f"For {extra['adds']}: pip install 'demur[{name}]'", highlight=False, markup=False)
    console.print(f"Inspect extension: {report['inspect_extension']}", highlight=False, markup=False)
    if "model" in report:
        parts = Table(title="Inside the model", title_justify="left", show_header=False)
        for part, found in report["model"].items():
            parts.add_row(escape(part), escape(found))
        console.print(parts)
