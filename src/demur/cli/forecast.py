"""`demur forecast`: the probability that a prompt will be refused, from the prompt alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from demur.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from demur.studies.forecasting import FittedForecast

__all__ = ["app"]

app = typer.Typer(
    name="forecast",
    help="The probability that a prompt will be refused, from the prompt alone.",
    no_args_is_help=True,
)

PromptField = Annotated[str | None, typer.Option(help="Field that holds the prompt; found by name when absent.")]
LabelField = Annotated[
    str | None, typer.Option(help="Field that says whether the prompt was declined; a verdict or 'label' when absent.")
]
Mapping = Annotated[str, typer.Option(help="Which kinds count as declined: any, full, xstest, reuter_schulze.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Force = Annotated[bool, typer.Option("--force", help="Replace what is there.")]


@app.command()
def fit(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN|ROWS...",
            help="Run directories of demur audit, or rows with a verdict or a label; rows with only a response are "
            "judged by the offline ladder.",
        ),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the forecast.")] = Path("forecast"),
    prompt_field: PromptField = None,
    response_field: Annotated[str | None, typer.Option(help="Field that holds a response to be judged.")] = None,
    label_field: LabelField = None,
    mapping: Mapping = "any",
    model: Annotated[str | None, typer.Option(help="Whose refusals these are; a run says so itself.")] = None,
    hand: Annotated[
        str | None, typer.Option(help="Rows labelled by people, to test on besides; templates are kept apart.")
    ] = None,
    keep_text: Annotated[
        bool, typer.Option("--keep-text", help="Keep the prompts' texts in the forecast, to show as neighbours.")
    ] = False,
    figures: Annotated[bool, typer.Option("--figures", help="Write terms.svg and reliability.svg too.")] = False,
    seed: Annotated[int, typer.Option(help="Of folds and bootstraps.")] = 0,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Learn from what one model did with prompts, and say honestly how well it can be foreseen.

    Measured on templates that were held out, and for comparison on single prompts that were. Some rows that cannot be
    read make the exit code 4.
    """
    from rich.console import Console

    from demur.studies.forecasting import fit_forecast

    fitted = fit_forecast(
        inputs,
        out,
        prompt_field=prompt_field,
        response_field=response_field,
        label_field=label_field,
        mapping=mapping,
        model=model,
        hand=hand,
        keep_text=keep_text,
        figures=figures,
        seed=seed,
        force=force,
    )
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    if as_json:
        typer.echo(json.dumps({"out": str(out), **fitted.as_json()}))
    else:
        _tell_fit(console, fitted, out)
    if fitted.read.rejected:
        for row in fitted.read.rejected[:5]:
            console.print(f"{row.source}, line {row.line}: {row.why}", markup=False)
        console.print(f"{len(fitted.read.rejected):,} rows could not be read")
        raise typer.Exit(4)


@app.command()
def predict(
    inputs: Annotated[
        list[str], typer.Argument(metavar="INPUT...", help="Files of rows with prompts, globs, or - for stdin.")
    ],
    forecast: Annotated[Path, typer.Option("-f", "--forecast", help="Folder that `demur forecast fit` wrote.")] = Path(
        "forecast"
    ),
    out: Annotated[
        str | None,
        typer.Option("-o", "--out", help="Output; its extension tells the format. JSON lines on stdout when absent."),
    ] = None,
    prompt_field: PromptField = None,
    label_field: LabelField = None,
    mapping: Mapping = "any",
    model: Annotated[str | None, typer.Option(help="Refuse a forecast of any other model's refusals.")] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Add what moved each prompt and its nearest training prompts.")
    ] = False,
    show_text: Annotated[
        bool, typer.Option("--show-text", help="Add the neighbours' texts; needs a forecast fitted with --keep-text.")
    ] = False,
    summary: Annotated[bool, typer.Option("--summary", help="Print counts, and agreement with labels.")] = False,
    force: Force = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the summary as one JSON object on stdout; needs -o.")
    ] = False,
) -> None:
    """Add to every row how probable it is that its prompt is refused, and why.

    Every field and the row order are kept. Rows that cannot be read go to OUT.rejected.jsonl with their line number,
    and the exit code is 4.
    """
    if as_json and out is None:
        raise InputError("--json needs -o FILE: without it the rows themselves go to stdout")
    from rich.console import Console

    from demur.prompts.forecast import Forecast
    from demur.studies.forecasting import predict_files

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    learned = Forecast.load(forecast, model=model)
    with console.status("forecast") as status:
        count = predict_files(
            inputs,
            learned,
            out,
            prompt_field=prompt_field,
            label_field=label_field,
            mapping=mapping,
            explain=explain or show_text,
            show_text=show_text,
            force=force,
            on_progress=lambda rows: status.update(f"forecast {rows:,} rows"),
        )
    found = count.summary(learned)
    if as_json:
        typer.echo(json.dumps({"out": out, **found}))
    elif summary:
        _tell_predicted(console, found)
    if count.rejected:
        where = f"they are in {out}.rejected.jsonl" if out else "use -o FILE to keep them"
        console.print(f"{count.rejected:,} of {count.rows:,} rows could not be read; {where}", markup=False)
        raise typer.Exit(4)


def _share(row: dict[str, Any]) -> str:
    return f"{row['value']:.1%} [{row['low']:.1%}, {row['high']:.1%}]"


def _plain(row: dict[str, Any]) -> str:
    return f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]" if "low" in row else f"{row['value']:.3f}"


_FIGURES = (
    ("accuracy", "accuracy", _share),
    ("balanced_accuracy", "balanced accuracy", _share),
    ("auroc", "AUROC", _plain),
    ("brier", "Brier score", _plain),
    ("ece", "calibration error", _plain),
)


def _tell_fit(console: Console, fitted: FittedForecast, out: Path) -> None:
    from rich.table import Table

    card, quality = fitted.forecast.card, fitted.forecast.card["quality"]
    by = ", ".join(f"{name} {n:,}" for name, n in fitted.read.labels_by.items())
    console.print(
        f"{card['prompts']:,} prompts in {card['groups']:,} groups (the largest has {card['largest_group']:,}), "
        f"{card['declined']:,} declined; refusals of {card['model'] or 'an unnamed model'}; outcomes by: {by}",
        markup=False,
    )
    if fitted.read.left_out:
        lost = ", ".join(f"{why} {n:,}" for why, n in fitted.read.left_out.most_common(6))
        console.print(f"left out: {lost}", markup=False)
    majority = quality["majority"]
    table = Table(title="On prompts that were not fitted on, 95% intervals over groups", title_justify="left")
    table.add_column("")
    columns = [("grouped", "templates held out"), ("random", "single prompts held out")]
    if "hand" in quality:
        columns.append(("hand", "labels by people"))
    for _, title in columns:
        table.add_column(title)
    for name, title, shown in _FIGURES:
        table.add_row(title, *(shown(quality[column][name]) for column, _ in columns))
    console.print(table)
    console.print(f"Always answering '{majority['answer']}' has an accuracy of {majority['accuracy']:.1%} and a "
                  "balanced accuracy of 50%.")  # fmt: skip
    gap = quality["random"]["balanced_accuracy"]["value"] - quality["grouped"]["balanced_accuracy"]["value"]
    if gap > 0.03:
        console.print(
            f"Templates leak: on random folds it looks {100 * gap:.0f} points better than on templates it has not "
            "seen. Believe the first column."
        )
    console.print(f"Forecast: {out}", markup=False, soft_wrap=True)


def _tell_predicted(console: Console, found: dict[str, Any]) -> None:
    if found["mean_probability"] is None:
        return
    console.print(
        f"{found['rows'] - found['rejected']:,} prompts: {found['expected_declined']:,.1f} expected to be declined "
        f"({found['mean_probability']:.1%} on average), {found['called_declined']:,} at or above the threshold "
        f"{found['threshold']:.3f}; refusals of {found['model'] or 'an unnamed model'}",
        markup=False,
    )
    if found["agreement"]:
        parts = "; ".join(f"{title} {shown(found['agreement'][name])}" for name, title, shown in _FIGURES)
        console.print(f"against {found['agreement']['ece']['n']:,} outcomes in the rows: {parts}", markup=False)
