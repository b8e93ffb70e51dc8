"""`demur select`: keeps the training rows at which a model's refusal falls furthest (Cliff-as-a-Judge)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from demur.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from demur.models import LocalModel
    from demur.states.probe import Probe
    from demur.studies.selecting import Selection

__all__ = ["select"]

_PROBE, _CLIFF, _FIELDS = "Probe", "Cliff", "Rows"


def select(
    data: Annotated[
        list[str],
        typer.Argument(
            metavar="DATA...",
            help="Files of rows (.jsonl, .csv, .tsv, .parquet, .gz of text), globs, folders of part files, or folders "
            "that `datasets` wrote.",
        ),
    ],
    model: Annotated[
        str,
        typer.Option("-m", "--model", help="The model that the rows would train: phantom, a local path or a hub id."),
    ],
    fraction: Annotated[float, typer.Option("-p", "--fraction", help="Share of rows to keep; the paper keeps 0.017.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Output; its extension tells the format.")] = Path(
        "selected.jsonl"
    ),
    probe: Annotated[
        Path | None, typer.Option(help="A refusal probe that was saved (.safetensors).", rich_help_panel=_PROBE)
    ] = None,
    groups: Annotated[
        Path | None,
        typer.Option(
            help="Prompts by group (JSONL), to fit the probe on now; see --save-probe.", rich_help_panel=_PROBE
        ),
    ] = None,
    save_probe: Annotated[
        Path | None, typer.Option(help="Keep the fitted probe here (.safetensors).", rich_help_panel=_PROBE)
    ] = None,
    layer: Annotated[
        int, typer.Option(help="Where to fit the probe; -1 is the last block, as published.", rich_help_panel=_PROBE)
    ] = -1,
    over: Annotated[
        Literal["reasoning", "prompt"],
        typer.Option(
            help="Where the plateau is read; prompt is for models that do not reason.", rich_help_panel=_CLIFF
        ),
    ] = "reasoning",
    think: Annotated[
        bool,
        typer.Option(
            "--think", help="Let the model reason anew about every prompt, as published.", rich_help_panel=_CLIFF
        ),
    ] = False,
    max_tokens: Annotated[
        int, typer.Option(min=1, help="Most tokens of reasoning and answer, with --think.", rich_help_panel=_CLIFF)
    ] = 2048,
    temperature: Annotated[
        float, typer.Option(min=0.0, help="Of the reasoning, with --think; published 0.7.", rich_help_panel=_CLIFF)
    ] = 0.0,
    measure: Annotated[
        Literal["drop", "released"],
        typer.Option(
            help="Rank by plateau minus final score, or as the released code does, by the final score alone.",
            rich_help_panel=_CLIFF,
        ),
    ] = "drop",
    plateau: Annotated[
        Literal["top", "max"],
        typer.Option(help="The plateau: mean of the highest tenth, or the highest token.", rich_help_panel=_CLIFF),
    ] = "top",
    prompt_field: Annotated[
        str | None, typer.Option(help="Field with the prompt; found by name when absent.", rich_help_panel=_FIELDS)
    ] = None,
    response_field: Annotated[
        str | None, typer.Option(help="Field with the answer; found by name when absent.", rich_help_panel=_FIELDS)
    ] = None,
    reasoning_field: Annotated[
        str | None, typer.Option(help="Field with the reasoning; found by name when absent.", rich_help_panel=_FIELDS)
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Which split of a folder of `datasets`.", rich_help_panel=_FIELDS)
    ] = None,
    judge: Annotated[
        list[str] | None,
        typer.Option(help="A model that says whether the answers decline, to compare with; several are a panel."),
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, mps; the best there is when absent.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Rows at once.")] = 8,
    seed: Annotated[int, typer.Option(help="Of random selection, folds and draws.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an earlier run stopped.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Start over although the output exists.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> None:
    """Keep the rows at which the model means to refuse while it thinks, and no longer does when it answers.

    Needs open weights and a refusal probe of the model. Beside the kept rows stand OUT.scores.jsonl, with every row's
    score and what random, rule-based and judge selection would keep, and OUT.rejected.jsonl with the rows that have no
    score; these make the exit code 4.
    """
    if (probe is None) == (groups is None):
        raise InputError("give the refusal probe with --probe FILE, or the prompts to fit it on with --groups FILE")
    if save_probe is not None and groups is None:
        raise InputError("--save-probe keeps a probe that --groups fits; with --probe there is nothing to save")
    from rich.console import Console

    from demur.models.quiet import quietly
    from demur.phantom import load
    from demur.studies.selecting import SelectSettings, select_rows

    settings = SelectSettings(
        fraction=fraction, prompt_field=prompt_field, response_field=response_field, reasoning_field=reasoning_field,
        split=split, over=over, think=think, max_tokens=max_tokens, temperature=temperature, measure=measure,
        plateau=plateau, judges=tuple(judge or ()), seed=seed, batch_size=batch_size,
    )  # fmt: skip
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    with quietly():
        loaded = load(model, **({} if device is None else {"device": device}))
    reader = _probe(loaded, probe, groups, save_probe, layer, settings.think, max_tokens, seed, console)
    with console.status("select") as status:
        found = select_rows(
            data, loaded, reader, out, settings, resume=resume, force=force,
            on_progress=lambda rows: status.update(f"select: {rows:,} rows scored"),
        )  # fmt: skip
    if as_json:
        quality = reader.card.quality if reader.card else None
        told = {"layer": reader.layer, "position": reader.position, "quality": quality}
        typer.echo(json.dumps({"out": str(out), "scores": f"{out}.scores.jsonl", "probe": told, **found.as_json()}))
    else:
        _tell(console, found, out)
    if found.set_aside:
        for why, count in sorted(found.set_aside.items(), key=lambda item: -item[1])[:5]:
            console.print(f"{count:,} rows without a score: {why}", markup=False)
        console.print(f"they are in {out}.rejected.jsonl", markup=False)
        raise typer.Exit(4)


def _probe(
    model: LocalModel,
    file: Path | None,
    groups: Path | None,
    keep: Path | None,
    layer: int,
    think: bool,
    max_tokens: int,
    seed: int,
    console: Console,
) -> Probe:
    """The probe in a file, or one that is fitted on groups: after the model's own reasoning where it shall think."""
    from demur.states.groups import read_groups
    from demur.states.probe import Probe
    from demur.states.probes import fit_probes
    from demur.states.rollouts import roll_out

    if file is not None:
        return Probe.load(file, model)
    prompts = read_groups(groups or Path())
    with console.status("fit the probe"):
        if think:
            thought = roll_out(model, prompts.prompts, max_tokens=max_tokens)
            known = [one for one in thought if one.declined is not None]
            found = fit_probes(
                model, [one.chat for one in known], [bool(one.declined) for one in known],
                families=[one.family for one in known], layers=[layer], positions=["last"], seed=seed,
            )  # fmt: skip
        else:
            found = fit_probes(model, prompts, layers=[layer], positions=["last"], seed=seed)
    fitted = found.best()
    if keep is not None:
        fitted.save(keep)
    if fitted.quality is not None:
        q = fitted.quality
        console.print(
            f"probe at layer {fitted.layer}: AUROC {q.auroc.value:.3f} [{q.auroc.low:.3f}, {q.auroc.high:.3f}] on "
            f"families it was not fitted on, n = {q.n}; permuted labels reach {q.null:.3f}, random directions "
            f"{q.random:.3f}",
            markup=False,
        )
        if q.p > 0.05:
            console.print("This probe reads no better than permuted labels would: its ranking means nothing.")
    return fitted


def _tell(console: Console, found: Selection, out: Path) -> None:
    from rich.table import Table

    console.print(
        f"kept {found.kept:,} of {found.scored:,} scored rows in {out}: mean drop {found.mean_drop:.3f}, of all rows "
        f"{found.mean_drop_all:.3f}, of the last one kept {found.threshold:.3f}",
        markup=False,
    )
    table = Table(title="What other ways would keep", title_justify="left")
    for title in ("", "keeps", "of", "of the rows kept here", "by chance", "mean drop"):
        table.add_column(title)
    for name, way in found.others.items():
        if way is not None:
            table.add_row(name, f"{way.kept:,}", f"{way.of:,}", f"{way.both:,}", f"{way.expected:,.1f}",
                          f"{way.mean_drop:.3f}")  # fmt: skip
    console.print(table)
