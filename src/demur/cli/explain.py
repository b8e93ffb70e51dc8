"""`demur explain`: where a model keeps harm and refusal, in one page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from demur.errors import InputError

__all__ = ["explain"]

_PROMPTS, _MODEL, _EFFORT = "Prompts", "Model", "Effort"


def explain(
    model: Annotated[str, typer.Argument(help="phantom, a local path or a hub id.")] = "phantom",
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Folder; explain-MODEL when absent.")] = None,
    prompts: Annotated[
        str | None,
        typer.Option(
            help="Prompts with `expect` (.jsonl, .csv, .parquet); demur-core when absent.", rich_help_panel=_PROMPTS
        ),
    ] = None,
    groups: Annotated[
        Path | None,
        typer.Option(help="The four groups (JSONL), when they are known already.", rich_help_panel=_PROMPTS),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=8, help="Most prompts to ask.", rich_help_panel=_PROMPTS)] = None,
    by: Annotated[
        str | None,
        typer.Option(
            help="What names a prompt's set: category, or a key of its meta (wrapper, where prompts have one).",
            rich_help_panel=_PROMPTS,
        ),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="Of the answers that make the groups; greedy when absent, 1 on the phantom.",
            rich_help_panel=_PROMPTS,
        ),
    ] = None,
    section: Annotated[
        list[str] | None, typer.Option("--section", help="Some sections only; --help-sections lists them.")
    ] = None,
    help_sections: Annotated[bool, typer.Option("--help-sections", help="List the sections and end.")] = False,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, mps; the best there is when absent.", rich_help_panel=_MODEL)
    ] = None,
    dtype: Annotated[
        str | None, typer.Option(help="float32, bfloat16, ...; the checkpoint's when absent.", rich_help_panel=_MODEL)
    ] = None,
    chat_template: Annotated[
        Path | None, typer.Option(help="A chat template (Jinja) instead of the tokenizer's.", rich_help_panel=_MODEL)
    ] = None,
    guard_model: Annotated[
        str | None,
        typer.Option(
            help="A guard model (of the kind of Llama Guard) beside the latent guard.", rich_help_panel=_MODEL
        ),
    ] = None,
    permutations: Annotated[int, typer.Option(min=1, help="Of the nulls.", rich_help_panel=_EFFORT)] = 200,
    random: Annotated[
        int, typer.Option(min=1, help="Random directions beside each push.", rich_help_panel=_EFFORT)
    ] = 5,
    most: Annotated[
        int, typer.Option(min=4, help="Most prompts in what runs the model many times.", rich_help_panel=_EFFORT)
    ] = 50,
    batch_size: Annotated[int, typer.Option(min=1, help="Prompts at once.", rich_help_panel=_EFFORT)] = 32,
    seed: Annotated[int, typer.Option(help="Of everything drawn.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with what the folder holds.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> None:
    """Say where harm is read, where refusal is decided, how they part, where the cliff falls and which heads carry it.

    The groups come from the model's own answers. Every number stands beside its null. Writes explain.html,
    explain.json, figures as SVG and PNG, and the learned directions.
    """
    from demur.studies.explaining import SECTIONS

    if help_sections:
        for name, made in SECTIONS.items():
            typer.echo(f"{name:12} {(made.__doc__ or '').splitlines()[0]}")
        return
    from rich.console import Console

    from demur.studies.explaining import ExplainSettings
    from demur.studies.explaining import explain as study

    if prompts and groups:
        raise InputError("--prompts and --groups exclude each other: groups hold their prompts already")
    settings = ExplainSettings(
        model=model,
        prompts=prompts,
        groups=None if groups is None else str(groups),
        limit=limit,
        by=by,
        temperature=temperature,
        sections=tuple(section) if section else tuple(SECTIONS),
        permutations=permutations,
        random=random,
        most=most,
        seed=seed,
        batch_size=batch_size,
        guard_model=guard_model,
    )
    loading = {"device": device, "dtype": dtype, "chat_template": chat_template}
    folder = out or Path(f"explain-{model.strip('/').replace('/', '-').replace(':', '-')}")
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    found = study(
        model,
        folder,
        settings=settings,
        resume=resume,
        told=lambda said: console.print(said, markup=False),
        **{name: value for name, value in loading.items() if value is not None},
    )
    if as_json:
        typer.echo(json.dumps({"out": str(folder), **found.as_json()}))
        return
    for one in found.sections:
        console.print(f"\n{one.title}", style="bold", markup=False)
        for sentence in one.sentences or (f"not measured: {one.missing}",):
            console.print(f"  {sentence}", markup=False)
    console.print(f"\n{found.page}", markup=False)
