"""`demur audit`: an honest refusal profile of a model, and a page."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from demur.errors import IncompleteError, InputError

if TYPE_CHECKING:
    from rich.console import Console

    from demur.records import Measure
    from demur.reports.profile import Profile
    from demur.studies.auditing import AuditRun
    from demur.studies.estimate import Estimate

__all__ = ["audit"]

_ASKED, _READ, _RUN = "What is asked", "How it is read", "How it runs"


def audit(
    context: typer.Context,
    model: Annotated[
        str | None,
        typer.Argument(
            help="phantom (the default), the path of a transformers checkpoint, a hub id, or an Inspect model string "
            "such as openai/NAME or openai-api/SERVICE/NAME."
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="A TOML file with any of these settings; options on the command line win.")
    ] = None,
    suite: Annotated[
        str, typer.Option(help="quick, core or full: how many of the built-in prompts.", rich_help_panel=_ASKED)
    ] = "quick",
    task: Annotated[
        list[str] | None,
        typer.Option(help="A task to run; may be given several times.", rich_help_panel=_ASKED),
    ] = None,
    prompts: Annotated[
        str | None,
        typer.Option(
            help="Your own prompts (JSONL, CSV, Parquet), or a built-in set: demur-core or phantom.",
            rich_help_panel=_ASKED,
        ),
    ] = None,
    language: Annotated[
        list[str] | None,
        typer.Option(help="A language of demur-core (en, es, fr, de, zh, ar, hi).", rich_help_panel=_ASKED),
    ] = None,
    system: Annotated[Path | None, typer.Option(help="A file with a system prompt.", rich_help_panel=_ASKED)] = None,
    tools: Annotated[
        Path | None,
        typer.Option(
            help="A JSON file of tools to offer; calls are recorded, never carried out.", rich_help_panel=_ASKED
        ),
    ] = None,
    usefulness: Annotated[
        bool,
        typer.Option(
            "--usefulness", help="Ask sixty harmless tasks with known answers as well.", rich_help_panel=_ASKED
        ),
    ] = False,
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most so many samples a task.", rich_help_panel=_ASKED)
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="How often each prompt is asked.", rich_help_panel=_ASKED)] = 1,
    temperature: Annotated[
        float | None, typer.Option(min=0.0, help="Sampling temperature.", rich_help_panel=_ASKED)
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Longest answer, in tokens.", rich_help_panel=_ASKED)
    ] = None,
    mapping: Annotated[
        str, typer.Option(help="Which kinds of response count as declined.", rich_help_panel=_READ)
    ] = "any",
    judge: Annotated[
        list[str] | None,
        typer.Option(
            help="A model that judges what the offline ladder is unsure of; several are a panel.", rich_help_panel=_READ
        ),
    ] = None,
    judge_all: Annotated[
        bool, typer.Option("--judge-all", help="Let the judges read every response.", rich_help_panel=_READ)
    ] = False,
    rubric: Annotated[
        Path | None, typer.Option(help="A TOML file with the judges' rubric.", rich_help_panel=_READ)
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            help="Responses labelled by people: corrected rates then stand beside the raw ones.", rich_help_panel=_READ
        ),
    ] = None,
    show_text: Annotated[
        bool, typer.Option("--show-text", help="Show masked texts on the page.", rich_help_panel=_READ)
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Forecast requests, tokens and cost by task; ask nothing.", rich_help_panel=_RUN
        ),
    ] = False,
    budget: Annotated[
        list[str] | None,
        typer.Option(help="requests=N, tokens=N or money=X: the most to spend.", rich_help_panel=_RUN),
    ] = None,
    price: Annotated[
        list[str] | None,
        typer.Option(help="[MODEL=]INPUT/OUTPUT: what a million tokens cost.", rich_help_panel=_RUN),
    ] = None,
    max_connections: Annotated[
        int | None, typer.Option(min=1, help="Requests under way at once.", rich_help_panel=_RUN)
    ] = None,
    max_retries: Annotated[
        int, typer.Option(min=0, help="Retries of a request after 429, 5xx and time-outs.", rich_help_panel=_RUN)
    ] = 5,
    timeout: Annotated[int, typer.Option(min=1, help="Seconds that one attempt may take.", rich_help_panel=_RUN)] = 300,
    cache: Annotated[
        bool, typer.Option("--cache", help="Use and fill Inspect's cache of replies.", rich_help_panel=_RUN)
    ] = False,
    batch: Annotated[
        bool, typer.Option("--batch", help="Use the provider's batch interface.", rich_help_panel=_RUN)
    ] = False,
    model_arg: Annotated[
        list[str] | None,
        typer.Option(
            "-M", "--model-arg", help="KEY=VALUE for the provider (device, dtype, stream, ...).", rich_help_panel=_RUN
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Run directory (by default demur-runs/MODEL-DATE-TIME).", rich_help_panel=_RUN)
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --out.", rich_help_panel=_RUN)
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of everything that is drawn.", rich_help_panel=_RUN)] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> None:
    """Measure over-refusal and under-refusal of a model, side by side, and write a page.

    Without arguments it audits the phantom, the built-in reference model: no network, no key, no GPU.
    """
    from rich.console import Console

    from demur.studies.auditing import AuditRun, forecast_audit, resume_audit
    from demur.studies.auditing import audit as run_audit
    from demur.studies.settings import read_config, read_system

    console = Console(stderr=True)
    typed: dict[str, Any] = {
        "model": model,
        "suite": suite,
        "tasks": task or None,
        "prompts": prompts,
        "languages": language or None,
        "system": read_system(system) if system else None,
        "tools": tools,
        "usefulness": usefulness,
        "limit": limit,
        "epochs": epochs,
        "temperature": temperature,
        "max_tokens": max_tokens,
        "mapping": mapping,
        "judges": judge or None,
        "judge_all": judge_all,
        "rubric": rubric,
        "labels": labels,
        "show_text": show_text,
        "budget": dict(_limit(text) for text in budget) if budget else None,
        "prices": dict(_price(text, model) for text in price) if price else None,
        "max_connections": max_connections,
        "max_retries": max_retries,
        "timeout": timeout,
        "cache": cache,
        "batch": batch,
        "model_args": dict(_pair(text) for text in model_arg) if model_arg else None,
        "seed": seed,
    }
    # what was not typed must not override the configuration with its default
    names = {"tasks": "task", "languages": "language", "judges": "judge", "prices": "price", "model_args": "model_arg"}
    given = {
        name: value
        for name, value in typed.items()
        if value is not None and (config is None or _was_typed(context, names.get(name, name)))
    }
    if config is not None:
        given = read_config(config) | given
    if dry_run:
        _forecast(console, forecast_audit(**given), as_json=as_json)
        return
    try:
        with _Bar(console) as bar:
            if resume:
                where = _directory_to_resume(context, out)
                run = resume_audit(where, budget=given.get("budget"), progress=bar)
            else:
                run = run_audit(**given, out=out, progress=bar)
    except IncompleteError as error:
        # what came is measured, and a script wants to see it even though the exit code says that more is to come
        if as_json and error.path is not None and (error.path / "measures.json").exists():
            # run.json may be older than the interruption when the disk is full
            typer.echo(json.dumps(_result(AuditRun.open(error.path)) | {"status": "incomplete"}))
        raise
    if as_json:
        typer.echo(json.dumps(_result(run)))
    else:
        _tell(console, run)


def _was_typed(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _directory_to_resume(context: typer.Context, out: Path | None) -> Path:
    """The directory in which to go on; options that would change the run are refused, not ignored."""
    if out is None:
        raise InputError("--resume needs --out DIR, the directory of the run to go on with")
    given = [
        parameter.opts[-1]
        for parameter in context.command.params
        if parameter.name is not None
        and parameter.name not in {"resume", "out", "as_json", "budget"}
        and _was_typed(context, parameter.name)
    ]
    if given:
        raise InputError(f"--resume goes on with the settings that the run began with; leave out: {', '.join(given)}")
    return out


# Seconds between lines of progress where a bar cannot be drawn.
_SAY_EVERY = 30.0


class _Bar:
    """A progress bar with rate and remaining time, shown on a terminal and once a while elsewhere."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
            get_time=clock,
        )
        self._task = self._progress.add_task("loading the model", total=None, rate="")
        self._console = console
        self._replayed = 0
        self._said = 0.0

    def __call__(self, done: int, expected: int, replayed: bool) -> None:
        self._replayed += replayed
        elapsed = self._progress.tasks[0].elapsed or 0.0
        speed = (done - self._replayed) / elapsed if elapsed else 0.0
        rate = f"{speed:.1f}/s" if speed else ""
        self._progress.update(self._task, description="asking", total=expected, completed=done, rate=rate)
        if not self._console.is_terminal and (elapsed - self._said >= _SAY_EVERY or done == expected):
            self._said = elapsed
            left = f", {(expected - done) / speed:.0f} s left" if speed and done < expected else ""
            self._console.print(f"{done} of {expected} responses {rate}{left}", markup=False, highlight=False)

    def __enter__(self) -> _Bar:
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()


def _pair(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise InputError(f"-M takes KEY=VALUE, got {text!r}")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def _limit(text: str) -> tuple[str, float]:
    name, equals, value = text.partition("=")
    try:
        if name not in {"requests", "tokens", "money"} or not equals:
            raise ValueError
        return name, float(value) if name == "money" else int(value)
    except ValueError:
        raise InputError(f"--budget takes requests=N, tokens=N or money=X, got {text!r}") from None


def _price(text: str, model: str | None) -> tuple[str, dict[str, float]]:
    from demur.inspect_ext.naming import inspect_name

    name, _, amounts = text.rpartition("=")
    try:
        read, written = (float(amount) for amount in amounts.split("/"))
    except ValueError:
        raise InputError(
            f"--price takes INPUT/OUTPUT or MODEL=INPUT/OUTPUT, in money for a million tokens, got {text!r}"
        ) from None
    if not name and model is None:
        raise InputError(f"--price {text} names no model, and none is given to audit; write MODEL={text}")
    return name or inspect_name(str(model)), {"input": read, "output": written}


def _result(run: AuditRun) -> dict[str, Any]:
    return {
        "run": str(run.path),
        "report": str(run.directory.report),
        "model": run.info.model,
        "status": run.info.status,
        "counts": run.info.counts,
        "measures": [measure.model_dump(mode="json") for measure in run.measures],
    }


def _forecast(console: Console, found: Estimate, *, as_json: bool) -> None:
    from rich.markup import escape
    from rich.table import Table

    if as_json:
        typer.echo(found.model_dump_json())
        return
    table = Table(title="Forecast: nothing was asked", title_justify="left")
    for column in ("task", "requests", "prompt tokens", "answer tokens", "cost"):
        table.add_column(column, justify="left" if column == "task" else "right")
    for one in found.tasks:
        table.add_row(
            escape(one.task),
            f"{one.requests:,}",
            f"{one.tokens_in_low:,} to {one.tokens_in_high:,}",
            f"up to {one.tokens_out_high:,}",
            _most(one.cost_high),
        )
    table.add_section()
    table.add_row("all", f"{found.requests:,}", "", f"up to {found.tokens_high:,} in all", _most(found.cost_high))
    console.print(table)
    console.print(
        "Bounds, not guesses: prompts are counted in bytes, answers at their longest; retries are not in them.",
        highlight=False,
    )
    for name in found.over_budget:
        console.print(f"[bold]The budget in {name} may not be enough:[/bold] the audit would stop there, resumable.")


def _most(cost: float | None) -> str:
    return "no price" if cost is None else f"up to {cost:,.2f}"


def _tell(console: Console, run: AuditRun) -> None:
    from rich.markup import escape

    from demur.reports.profile import join

    for profile in join(run.measures):
        _tell_task(console, run, profile)
    replies = run.info.counts["samples"] - run.info.counts.get("errors", 0)
    console.print(f"{replies} responses in {run.info.timings['seconds']:.0f} s", highlight=False)
    if run.info.cost is not None:
        console.print(f"Cost by the prices given: {run.info.cost:,.4f}", highlight=False)
    if run.info.note:
        console.print(f"[italic]{escape(run.info.note)}[/italic]")
    console.print("Page:", style="bold", end=" ")
    console.print(str(run.directory.report), soft_wrap=True, highlight=False, markup=False)


def _tell_task(console: Console, run: AuditRun, profile: Profile) -> None:
    """One table: both errors, or what was declined where the prompts do not say what they expect."""
    from rich.markup import escape
    from rich.table import Table

    from demur.reports.numbers import printable
    from demur.reports.text import visible

    title = "Refusal profile" if profile.task == "refusal_profile" else profile.task.replace("_", " ").capitalize()
    # above the table and not its title, which would be broken to the width of a narrow one
    console.print(f"[italic]{title} of {escape(visible(run.info.model))}[/italic]", soft_wrap=True, highlight=False)
    table = Table()
    rows: list[tuple[str, list[Measure | None]]]
    if profile.declined is not None:
        heads = ["declined"]
        rows = [("all", [profile.declined])]
        rows += [(label, [one]) for part in profile.slices if part.name == "category" for label, one in part.rows]
    else:
        heads = ["over-refusal", "under-refusal"]
        rows = [("all", [profile.overall.over, profile.overall.under])]
        named = sorted(((row.label, [row.over, row.under]) for row in profile.categories.rows), key=lambda row: row[0])
        # a list of cells that are all too small says nothing
        rows += [row for row in named if any(printable(cell) for _, cells in named for cell in cells)]
        # tasks of one side only: a column of dashes says nothing
        for side in (1, 0):
            if all(cells[side] is None for _, cells in rows):
                heads.pop(side)
                rows = [(label, [cell for place, cell in enumerate(cells) if place != side]) for label, cells in rows]
    table.add_column("")
    for head in heads:
        table.add_column(head, justify="right")
    for label, cells in rows:
        table.add_row(escape(visible(label)), *map(_cell, cells))
    console.print(table)
    for measure in profile.others:
        if measure.group is None and (words := _LINES.get(measure.name)):
            console.print(f"{words}: {_cell(measure)}")


# Measures that are worth a line under the table.
_LINES = {
    "both_right": "Pairs told apart",
    "correct": "Right answers",
    "over_refusal_corrected": "Over-refusal with the errors of the verdicts taken out",
    "under_refusal_corrected": "Under-refusal with the errors of the verdicts taken out",
}


def _cell(measure: Measure | None) -> str:
    if measure is None:
        return "-"
    if measure.value is None:
        return f"too few (n={measure.n})"
    return f"{measure.value:.1%} \\[{measure.low:.1%}, {measure.high:.1%}]"
