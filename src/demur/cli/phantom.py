"""`demur phantom`: the reference model whose refusal behaviour is known by construction."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from demur.phantom.card import Card, Condition

__all__ = ["app"]

app = typer.Typer(
    name="phantom",
    help="The reference model whose refusal behaviour is known by construction.",
    no_args_is_help=True,
)

Edition = Annotated[str, typer.Option("--edition", help="Which edition of the phantom.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


@app.command()
def info(edition: Edition = "base", as_json: AsJson = False) -> None:
    """Say what the phantom is, where it lies, and how near it is to what was planted."""
    from demur.phantom import card, editions

    folder = editions.path(edition)
    found = card.read(folder)
    size = sum(file.stat().st_size for file in folder.iterdir())
    report = {
        "edition": edition,
        "editions": editions.names(),
        "path": str(folder),
        "megabytes": round(size / 1e6, 2),
        "conditions": len(found.conditions),
        "within_0.03": round(found.within(0.03), 4),
        "within_0.06": round(found.within(0.06), 4),
        "largest_error": round(max(c.error for c in found.conditions), 4),
        "bag_of_words_auroc": found.bag_of_words,
        "specification": found.specification,
        "seed": found.seed,
        "training": found.training,
        "note": found.note,
    }
    if as_json:
        typer.echo(json.dumps(report))
        return
    from rich.console import Console
    from rich.markup import escape

    console = Console(stderr=True, highlight=False)
    for key, value in report.items():
        console.print(f"[bold]{key}[/bold]  {escape(str(value))}", soft_wrap=True)


@app.command("card")
def show_card(
    edition: Edition = "base",
    as_json: AsJson = False,
    figure: Annotated[
        Path | None, typer.Option("--figure", help="Draw planted against measured into this file (.svg, .png, .pdf).")
    ] = None,
    group: Annotated[
        str | None, typer.Option("--group", help="Only conditions of this group, one by one; of a scene, by its name.")
    ] = None,
    worst: Annotated[
        int | None, typer.Option("--worst", help="So many conditions one by one, the largest errors first.", min=1)
    ] = None,
) -> None:
    """Show what was planted and what is measured: by group, or condition by condition with --group and --worst."""
    from demur.errors import InputError
    from demur.phantom import card, editions

    found = card.read(editions.path(edition))
    if figure is not None:
        from demur.phantom.figure import draw

        draw(found, figure)
        typer.echo(f"wrote {figure}", err=True)
    groups = list(dict.fromkeys(c.group for c in found.conditions))
    if group is not None and group not in groups:
        raise InputError(f"the card has no group {group!r}; there are: {', '.join(groups)}")
    some = [c for c in found.conditions if group in (None, c.group)]
    if worst is not None:
        some = sorted(some, key=lambda c: -c.error)[:worst]
    chosen = found.model_copy(update={"conditions": tuple(some)})
    if as_json:
        typer.echo(json.dumps(chosen.model_dump(mode="json")))
    elif figure is None and group is None and worst is None:
        _sum_up(found)
    elif figure is None:
        _tell(chosen)


@app.command()
def train(
    out: Annotated[Path, typer.Option("--out", help="Directory of the checkpoint to be.")],
    seed: Annotated[
        int | None, typer.Option("--seed", help="Seed of weights and order (by default the specification's).")
    ] = None,
    variant: Annotated[
        str | None,
        typer.Option("--variant", help="A smaller one in the shape of another family: qwen3, gemma3 or gpt_oss."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an interrupted training stopped.")] = False,
    minutes: Annotated[
        float | None, typer.Option("--minutes", help="Stop after so many minutes; --resume goes on.", min=0)
    ] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", help="Processor threads (by default torch's choice).", min=1)
    ] = None,
    processes: Annotated[
        int, typer.Option("--processes", help="How many work on each batch, one thread each where several.", min=1)
    ] = 1,
    as_json: AsJson = False,
) -> None:
    """Train the phantom anew from its specification, then measure it and write its card.

    Ctrl-C keeps what is done, and --resume goes on: with the training, or with the measuring when only that is left.
    """
    from demur.errors import IncompleteError, InputError, MissingExtraError

    try:
        import torch

        from demur.phantom import card, training, variants
    except ImportError as error:
        raise MissingExtraError("training the phantom", "local", error.name or str(error)) from error
    if processes > 1 and threads not in (None, 1):
        raise InputError("several processes take one thread each; leave out --threads or --processes")
    if threads is not None or processes > 1:
        torch.set_num_threads(threads or 1)
    spec = None if variant is None else variants.specification(variant)
    shape = variants.LLAMA if variant is None else variants.architecture(variant)
    training.train(
        out,
        specification=spec,
        seed=seed,
        resume=resume,
        minutes=minutes,
        architecture=shape,
        processes=processes,
    )
    try:
        found = card.write(out, specification=spec)
    except KeyboardInterrupt:
        raise IncompleteError(
            f"interrupted while measuring; the training in {out} is done, and --resume measures it",
            path=out,
        ) from None
    if as_json:
        typer.echo(json.dumps(found.model_dump(mode="json")))
    else:
        _sum_up(found)
        typer.echo(f"the checkpoint is in {out}", err=True)


@app.command()
def export(
    gguf: Annotated[Path, typer.Option("--gguf", help="The GGUF file to be, for llama.cpp.")],
    edition: Edition = "base",
    as_json: AsJson = False,
) -> None:
    """Write an edition in another program's format."""
    from demur.phantom import editions
    from demur.phantom.gguf import export as write

    write(editions.path(edition), gguf)
    if as_json:
        typer.echo(json.dumps({"gguf": str(gguf), "bytes": gguf.stat().st_size}))
    else:
        typer.echo(f"wrote {gguf}", err=True)


@app.command("path")
def show_path(
    edition: Annotated[str, typer.Argument(help="Which edition of the phantom.")] = "base", as_json: AsJson = False
) -> None:
    """Print the directory of an edition's checkpoint, for other programs."""
    from demur.phantom import editions

    folder = str(editions.path(edition))
    typer.echo(json.dumps({"path": folder}) if as_json else folder)


def _sum_up(found: Card) -> None:
    """A row for each group."""
    from rich.console import Console
    from rich.table import Table

    console = Console(stderr=True, highlight=False)
    table = Table("group", title=f"phantom card, edition {found.edition}")
    for column in ("conditions", "mean error", "largest", "within .03"):
        table.add_column(column, justify="right")
    for group in dict.fromkeys(c.group for c in found.conditions):
        errors = [c.error for c in found.conditions if c.group == group]
        table.add_row(
            group,
            str(len(errors)),
            f"{sum(errors) / len(errors):.3f}",
            _marked(max(errors)),
            str(sum(e <= 0.03 + 1e-9 for e in errors)),
        )
    console.print(table)
    console.print(f"{_kept(found)} {found.note} One by one: --group GROUP, --worst 20.")


def _tell(found: Card) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(stderr=True, highlight=False)
    table = Table("condition", title=f"phantom card, edition {found.edition}")
    for column in ("rows", "planted", "measured", "error"):
        table.add_column(column, justify="right")
    for condition in found.conditions:
        table.add_row(*_cells(condition))
    console.print(table)
    console.print(f"{_kept(found)} {found.note}")


def _kept(found: Card) -> str:
    return (
        f"{len(found.conditions)} conditions: {found.within(0.03):.1%} within .03, {found.within(0.06):.1%} within .06."
    )


def _cells(condition: Condition) -> tuple[str, ...]:
    sampled = condition.low < condition.high
    return (
        condition.name,
        f"{condition.n_train:,}",
        f"{condition.planted:.3f}",
        f"{condition.measured:.3f}" + (f" ({condition.low:.3f}, {condition.high:.3f})" if sampled else ""),
        _marked(condition.error),
    )


def _marked(error: float) -> str:
    # marks and colour only where the card's promise (within .03) is not kept
    return f"{error:.3f}" if error <= 0.03 + 1e-9 else f"[yellow]{error:.3f} ![/yellow]"
