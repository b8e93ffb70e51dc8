"""`demur classify`: a verdict for every row of prompts and responses."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from demur.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from demur.inspect_ext.budget import Price
    from demur.studies.classify import Classified, Progress

__all__ = ["classify"]

_JUDGE = "Judges"


def classify(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...",
            help="Files of rows (.jsonl, .csv, .tsv, .parquet, .gz of text, .eval), folders of part files, globs, or - "
            "for stdin.",
        ),
    ],
    out: Annotated[
        str | None,
        typer.Option("-o", "--out", help="Output; its extension tells the format. JSON lines on stdout when absent."),
    ] = None,
    prompt_field: Annotated[
        str | None, typer.Option(help="Field that holds the prompt; found by name when absent.")
    ] = None,
    response_field: Annotated[
        str | None, typer.Option(help="Field that holds the response; found by name when absent.")
    ] = None,
    label_field: Annotated[
        str | None, typer.Option(help="Field with refusal or compliance, to measure agreement with. [default: label]")
    ] = None,
    mapping: Annotated[
        str, typer.Option(help="Which kinds count as declined: any, full, xstest, reuter_schulze.")
    ] = "any",
    tier: Annotated[
        Literal["fast", "accurate"],
        typer.Option(help="Where probabilities come from; accurate is a small encoder, and far slower."),
    ] = "fast",
    judge: Annotated[
        list[str] | None,
        typer.Option(
            help="A model that judges what the offline ladder is unsure of; several are a panel.",
            rich_help_panel=_JUDGE,
        ),
    ] = None,
    judge_all: Annotated[
        bool, typer.Option("--judge-all", help="Let the judges read every response.", rich_help_panel=_JUDGE)
    ] = False,
    rubric: Annotated[
        str | None,
        typer.Option(help="The judges' rubric: refusal, binary, or a TOML file.", rich_help_panel=_JUDGE),
    ] = None,
    price: Annotated[
        list[str] | None,
        typer.Option(help="[MODEL=]INPUT/OUTPUT: what a million tokens cost.", rich_help_panel=_JUDGE),
    ] = None,
    summary: Annotated[
        bool,
        typer.Option(
            "--summary", help="Print counts by kind with intervals, agreement with labels, and where the rungs differ."
        ),
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an earlier run stopped.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Start over although the output exists.")] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; by the size of the input when absent.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the summary as one JSON object on stdout; needs -o.")
    ] = False,
) -> None:
    """Add a verdict to every row: what the response does, why, where declining starts, who decided.

    Every field and the row order are kept. Rows that cannot be read go to OUT.rejected.jsonl with their line number,
    and the exit code is 4.
    """
    if as_json and out is None:
        raise InputError("--json needs -o FILE: without it the rows themselves go to stdout")
    from rich.console import Console

    from demur.studies.classify import classify_files

    console = Console(stderr=True)
    with _progress(console) as advance:
        count = classify_files(
            inputs,
            out,
            prompt_field=prompt_field,
            response_field=response_field,
            label_field=label_field,
            mapping=mapping,
            tier=tier,
            judges=judge or (),
            judge_all=judge_all,
            rubric=rubric,
            prices=_prices(price or (), judge or ()),
            compare=summary or as_json,
            resume=resume,
            force=force,
            workers=workers,
            on_progress=advance,
        )
    if as_json:
        typer.echo(json.dumps({"out": out, **count.summary()}))
    elif summary:
        _tell(console, count.summary())
    if not count.rows:
        console.print("there were no rows in the input", highlight=False)
    if count.rejected:
        _tell_rejected(console, count, out)
        raise typer.Exit(4)


def _prices(given: Sequence[str], judges: Sequence[str]) -> dict[str, Price] | None:
    """Prices by the judges' names; one without a name is that of the only judge."""
    if not given:
        return None
    from demur.inspect_ext.budget import Price

    prices: dict[str, Price] = {}
    for text in given:
        name, _, amounts = text.rpartition("=")
        try:
            read, written = (float(amount) for amount in amounts.split("/"))
            price = Price(input=read, output=written)
        except ValueError:
            raise InputError(
                f"--price takes INPUT/OUTPUT or JUDGE=INPUT/OUTPUT, in money for a million tokens, got {text!r}"
            ) from None
        names = [name] if name else list(judges)
        if len(names) != 1 or names[0] not in judges:
            raise InputError(f"--price {text} names none of the judges ({', '.join(judges) or 'there are none'})")
        prices[names[0]] = price
    return prices


@contextmanager
def _progress(console: Console) -> Iterator[Callable[[Progress], None]]:
    """Rows, rate and remaining time on stderr, on one line that goes away when the work is done."""
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    with Bar(
        TextColumn("classify"), BarColumn(), TextColumn("{task.fields[rows]} rows"), TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(), TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal,
    ) as bar:  # fmt: skip
        task = bar.add_task("classify", total=None, rows=0, rate="")

        def advance(progress: Progress) -> None:
            elapsed = bar.tasks[0].elapsed or 0.0
            rate = f"{(progress.rows - progress.resumed) / elapsed:,.0f} rows/s" if elapsed > 1 else ""
            known = progress.fraction is not None
            bar.update(
                task,
                rows=f"{progress.rows:,}",
                rate=rate,
                total=1.0 if known else None,
                completed=progress.fraction if known else 0,
            )

        yield advance


def _percent(rate: dict[str, Any]) -> str:
    if rate["value"] is None:
        return f"too few ({rate['n']})" if rate["n"] else "-"
    return f"{rate['value']:.1%} [{rate['low']:.1%}, {rate['high']:.1%}]"


def _tell(console: Console, summary: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table(title=f"{summary['rows']:,} rows", title_justify="left")
    table.add_column("kind")
    table.add_column("rows", justify="right")
    table.add_column("share of judged rows, 95% interval")
    for kind, rate in summary["kinds"].items():
        table.add_row(kind, f"{rate['count']:,}", _percent(rate))
    declined = summary["declined"]
    table.add_section()
    table.add_row(f"declined (mapping {summary['mapping']})", f"{declined['count']:,}", _percent(declined))
    if summary["excluded"]:
        table.add_section()
        for kind, n in summary["excluded"].items():
            table.add_row(kind, f"{n:,}", "not judged, outside the denominator")
    console.print(table)
    console.print(
        "decided by: " + ", ".join(f"{name} {n:,}" for name, n in summary["decided_by"].items()), highlight=False
    )
    agreement = summary["agreement"]
    if agreement:
        balanced = agreement["balanced_accuracy"]
        console.print(
            f"agreement with {agreement['n']:,} labels: accuracy {_percent(agreement['accuracy'])}; "
            + (f"balanced accuracy {balanced:.3f}; " if balanced is not None else "")
            + f"sensitivity {_percent(agreement['sensitivity'])}; specificity {_percent(agreement['specificity'])}; "
            + (f"kappa {agreement['kappa']:.3f}; " if agreement["kappa"] is not None else "")
            + f"left out: {agreement['other_labels']:,} other labels, {agreement['not_judged']:,} not judged",
            highlight=False,
            markup=False,
        )

    _tell_rungs(console, summary)


def _tell_rungs(console: Console, summary: dict[str, Any]) -> None:
    from demur.studies.classified import RUNGS

    several = len({row["source"] for found in summary["disagreements"].values() for row in found["rows"]}) > 1
    for name, found in summary["disagreements"].items():
        places = ", ".join(f"{row['source']}:{row['line']}" if several else str(row["line"]) for row in found["rows"])
        console.print(
            f"{RUNGS[name]}: differ at {found['count']:,} of {found['n']:,} rows, {_percent(found)}"
            + (f"; the first in {'' if several else 'line '}{places}" if places else ""),
            highlight=False,
            markup=False,
        )
    judge = summary["judge"]
    if judge:
        cost = "not known, give --price" if judge["cost"] is None else f"{judge['cost']:,.4f}"
        console.print(
            f"judge: asked about {judge['asked']:,} rows, {judge['failed']:,} without a verdict; "
            f"{judge['requests']:,} requests, {judge['tokens_in']:,} tokens read and {judge['tokens_out']:,} written, "
            f"cost {cost}",
            highlight=False,
            markup=False,
        )


def _tell_rejected(console: Console, count: Classified, out: str | None) -> None:
    where = f"they are in {out}.rejected.jsonl" if out else "use -o FILE to keep them"
    console.print(
        f"{count.rejected:,} of {count.rows:,} rows could not be read; {where}", highlight=False, markup=False
    )
    for why, n in count.reasons.most_common(5):
        console.print(f"  {n:,}: {why}", highlight=False, markup=False)
