"""`explain`: where one model keeps harm and refusal, from its groups to a page; interrupted work is taken up again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from demur.atomic import write_text
from demur.errors import InputError, RunError
from demur.reports.pages import render_page, write_page
from demur.reports.sections import Section
from demur.studies.explain_guard import guard
from demur.studies.explain_inside import Inside, place, split
from demur.studies.explain_paths import cliff, heads, probes
from demur.studies.explain_sections import apart, choice, inversion, reading, steering

if TYPE_CHECKING:
    from demur.models import LocalModel
    from demur.records import Prompt
    from demur.states.groups import Groups
    from demur.states.inversion import Question

__all__ = ["SECTIONS", "ExplainSettings", "Explanation", "explain"]

SECTIONS: Mapping[str, Callable[[Inside], Section]] = {
    "reading": reading,
    "apart": apart,
    "guard": guard,
    "steering": steering,
    "inversion": inversion,
    "choice": choice,
    "probes": probes,
    "cliff": cliff,
    "heads": heads,
}
"""The sections by name, in the order of the page."""

_SCHEMA = 1
_NOTE = (
    "Every number stands beside what chance gives: shuffled labels, random directions of equal norm, random heads. "
    "Reading a direction says that something is there, pushing along it says that the model uses it."
)
_PHANTOM_NOTE = (
    "The phantom is a calibration object: this page says that the instruments read correctly, and nothing about real "
    "models. "
)


class ExplainSettings(BaseModel):
    """What was asked; kept with the result, and compared when work is taken up again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    prompts: str | None = None
    """A file of prompts with `expect`; None takes the phantom's own for the phantom, else demur-core."""
    groups: str | None = None
    """A file of groups that are known already."""
    limit: int | None = None
    """Most prompts that are asked."""
    by: str | None = None
    """`category`, or a key of the prompts' `meta`; None takes `wrapper` where prompts have one, else `category`."""
    sections: tuple[str, ...] = tuple(SECTIONS)
    permutations: int = 200
    random: int = 5
    most: int = 50
    """Most prompts in a measurement that runs the model many times."""
    max_tokens: int = 48
    """Of each answer from which the groups are made."""
    reasoning_tokens: int = 1024
    """Most tokens of reasoning and answer, where the cliff is read."""
    temperature: float | None = None
    """Of those answers, each with a seed of its own. None is greedy, but 1 for the phantom, whose answers are planted
    as probabilities."""
    seed: int = 0
    batch_size: int = 32
    guard_model: str | None = None
    """A guard model (path or hub id, of the kind of Llama Guard) to stand beside the latent guard."""

    @property
    def drawn_at(self) -> float:
        """The temperature that is used."""
        from demur import phantom

        if self.temperature is not None:
            return self.temperature
        return 1.0 if phantom.is_phantom(self.model) else 0.0


@dataclass(frozen=True, eq=False)
class Explanation:
    """What was found.

    Attributes:
        settings: What was asked.
        sections: In the order of the page.
        counts: Prompts in each group.
        out: The folder with the page, figures and learned directions.
    """

    settings: ExplainSettings
    sections: tuple[Section, ...]
    counts: dict[str, int]
    out: Path

    @property
    def page(self) -> Path:
        """The page."""
        return self.out / "explain.html"

    def __getitem__(self, name: str) -> Section:
        for section in self.sections:
            if section.name == name:
                return section
        raise KeyError(name)

    def as_json(self) -> dict[str, Any]:
        """What `explain.json` holds."""
        return {
            "schema_version": _SCHEMA,
            "settings": self.settings.model_dump(mode="json"),
            "counts": self.counts,
            "sections": [section.model_dump(mode="json") for section in self.sections],
        }

    def _repr_html_(self) -> str:
        from html import escape

        rows = "".join(
            f"<tr><th>{escape(s.title)}</th><td>{escape(' '.join(s.sentences) or s.missing or '')}</td></tr>"
            for s in self.sections
        )
        return f"<table><caption>{escape(self.settings.model)}, seen from inside</caption>{rows}</table>"


def explain(
    model: str | LocalModel = "phantom",
    out: Path | str = "explain",
    *,
    settings: ExplainSettings | None = None,
    resume: bool = False,
    told: Callable[[str], None] = lambda _: None,
    **load: Any,
) -> Explanation:
    """Find where a model keeps harm and refusal, and write a page about it.

    Args:
        model: `phantom`, a path, a hub id, or a model that is loaded.
        out: The folder to write into.
        settings: What to ask; None means the defaults for `model`.
        resume: Take up what `out` holds; sections that are done are not done again.
        told: Hears what is being done.
        load: Passed on to `LocalModel.load` (device, dtype, ...).

    Returns:
        What was found; `out` then holds `explain.html`, `explain.json`, `groups` with the answers they are made from,
        `directions.safetensors` with its card, and `figures`.

    Raises:
        InputError: The folder is in use by other settings, or the model's answers do not make four groups.
        ModelError: The model cannot be loaded or read.
    """
    from demur import phantom
    from demur.models.quiet import quietly
    from demur.reports import plots

    asked = settings or ExplainSettings(model=model if isinstance(model, str) else model.name)
    if unknown := [name for name in asked.sections if name not in SECTIONS]:
        raise InputError(f"there is no section {unknown[0]!r}; there are: {', '.join(SECTIONS)}")
    out = Path(out)
    _claim(out, asked, resume)
    with quietly():
        loaded = phantom.load(model, **load) if isinstance(model, str) else model
    told("making the groups from the model's own answers")
    groups = _groups(loaded, asked, out)
    fit, held = split(groups, seed=asked.seed)
    inside = Inside(
        model=loaded,
        fit=fit,
        held=held,
        by=asked.by or ("wrapper" if any("wrapper" in p.meta for p in groups.prompts) else "category"),
        directions_file=out / "directions.safetensors",
        tokens_file=out / "refusal_tokens.json",
        question=_question(asked),
        thinking=tuple(_thinking(asked, held)),
        reasoning_tokens=asked.reasoning_tokens,
        temperature=asked.drawn_at,
        permutations=asked.permutations,
        random=asked.random,
        most=asked.most,
        seed=asked.seed,
        batch_size=asked.batch_size,
        guard_model=_guard_model(asked, out, load),
    )
    sections = []
    for name in (name for name in SECTIONS if name in asked.sections):
        file = out / "sections" / f"{name}.json"
        section = _kept(file)
        if section is None:
            told((SECTIONS[name].__doc__ or name).rstrip("."))
            section = SECTIONS[name](inside)
            file.parent.mkdir(parents=True, exist_ok=True)
            for figure in section.figures:
                plots.write(figure, out / "figures")
            # last, so that a section that is kept has its figures
            write_text(file, section.model_dump_json(indent=1) + "\n")
        sections.append(section)
    found = Explanation(asked, tuple(sections), groups.counts, out)
    write_text(out / "explain.json", json.dumps(found.as_json(), indent=1, ensure_ascii=False) + "\n")
    write_page(found.page, _page(found, loaded, inside))
    return found


def _claim(out: Path, asked: ExplainSettings, resume: bool) -> None:
    """Make the folder ours, or see that it is."""
    file = out / "settings.json"
    if not file.exists():
        if resume:
            raise InputError(f"there is nothing to take up in {out}; leave out --resume")
        if out.exists() and any(out.iterdir()):
            raise InputError(f"{out} is not empty; name another folder")
        try:
            out.mkdir(parents=True, exist_ok=True)
            write_text(file, asked.model_dump_json(indent=1) + "\n")
        except OSError as error:
            raise RunError(f"cannot write to {out}: {error.strerror or error}; name another folder") from error
        return
    if not resume:
        raise InputError(f"{out} holds an explanation already; add --resume to go on with it, or name another folder")
    try:
        before = ExplainSettings.model_validate_json(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read ({error}); name another folder") from error
    # sections may be added to what is there; all else would mix two measurements
    if changed := [
        name
        for name in ExplainSettings.model_fields
        if name != "sections" and getattr(before, name) != getattr(asked, name)
    ]:
        raise InputError(
            f"{out} was made with {changed[0]} = {getattr(before, changed[0])!r}, not {getattr(asked, changed[0])!r}; "
            "give the same, or name another folder"
        )


def _guard_model(asked: ExplainSettings, out: Path, load: Mapping[str, Any]) -> LocalModel | None:
    from demur.models import LocalModel
    from demur.models.quiet import quietly

    if asked.guard_model is None or "guard" not in asked.sections or (out / "sections" / "guard.json").exists():
        return None
    with quietly():
        return LocalModel.load(asked.guard_model, **{k: v for k, v in load.items() if k in ("device", "dtype")})


def _kept(file: Path) -> Section | None:
    try:
        return Section.model_validate_json(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise InputError(f"{file} cannot be read ({error}); remove it to measure that section again") from error


def _groups(model: LocalModel, asked: ExplainSettings, out: Path) -> Groups:
    from demur.states import read_groups
    from demur.studies.grouping import GroupingSettings, make_groups

    if asked.groups:
        return read_groups(Path(asked.groups))
    settings = GroupingSettings(max_tokens=asked.max_tokens, temperature=asked.drawn_at, seed=asked.seed)
    return make_groups(
        model, _prompts(asked), out / "groups", settings=settings, batch_size=asked.batch_size, resume=True
    ).groups


def _prompts(asked: ExplainSettings) -> Sequence[Prompt]:
    """The prompts to ask, thinned evenly to the limit, pairs kept together."""
    import random

    from demur import phantom

    if asked.prompts:
        from demur.rows import read_prompts

        prompts = read_prompts(asked.prompts)
    elif phantom.is_phantom(asked.model):
        from demur.phantom.editions import specification

        prompts = phantom.prompts(per_condition=10, seed=asked.seed, specification=specification(asked.model))
    else:
        from demur.prompts import demur_core

        prompts = demur_core()
    if asked.limit is None or asked.limit >= len(prompts):
        return prompts
    families: dict[str, list[Prompt]] = {}
    for prompt in prompts:
        families.setdefault(prompt.pair_id or prompt.id, []).append(prompt)
    names = sorted(families)
    random.Random(asked.seed).shuffle(names)
    found: list[Prompt] = []
    for name in names:
        if len(found) + len(families[name]) > asked.limit:
            break
        found += families[name]
    return found


def _question(asked: ExplainSettings) -> Question | None:
    """The phantom's own words about harm; it knows no others."""
    from demur import phantom

    if not phantom.is_phantom(asked.model) or asked.prompts:
        return None
    from demur.phantom.specification import default
    from demur.states.inversion import Question

    return Question(
        text=default().language.judgement_frames[0].replace("{act}", "{instruction}"),
        harmful=("Yes",),
        harmless=("No",),
        subject=lambda prompt: str(prompt.meta.get("act") or prompt.text),
    )


def _thinking(asked: ExplainSettings, groups: Groups) -> Sequence[Prompt]:
    """The prompts that are asked with reasoning; the phantom is asked those whose cliff is planted."""
    import random

    from demur import phantom

    planted = not asked.prompts and phantom.is_phantom(asked.model) and phantom.resolve(asked.model) == phantom.path()
    if planted:
        from demur.phantom import scenes

        some = scenes.prompts("cliff")
    else:
        some = [
            prompt.model_copy(update={"expect": "decline" if bad else "comply"})
            for prompt, bad in zip(groups.prompts, groups.harmful, strict=True)
            if not (phantom.is_phantom(asked.model) and prompt.meta.get("wrapper"))
        ]
    random.Random(asked.seed).shuffle(some)
    return some[: 8 * asked.most]


def _page(found: Explanation, model: LocalModel, inside: Inside) -> str:
    from demur import phantom

    named = found.settings.model
    is_phantom = phantom.is_phantom(named)
    return render_page(
        title="Refusal from inside",
        subject=named,
        headline=_headline(found),
        facts=[
            ("prompts", ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in found.counts.items())),
            ("layers", str(len(model.structure))),
            *(
                [("refusal opens with", ", ".join(repr(t) for t in model.token_texts(inside.tokens)[:8]))]
                if inside.tokens_file.exists()
                else []
            ),
            ("seed", str(found.settings.seed)),
        ],
        sections=found.sections,
        note=(_PHANTOM_NOTE if is_phantom else "") + _NOTE,
    )


def _headline(found: Explanation) -> str:
    """The page in a sentence."""
    read = next((s.data for s in found.sections if s.name == "reading"), None)
    if read is None:
        return next((s.sentences[0] for s in found.sections if s.sentences), "Nothing was measured.")
    harm, refusal = read["harmfulness"], read["refusal"]
    said = (
        f"Harm is read after layer {harm['layer']} at {place(harm['position'])} (AUROC {harm['auroc']:.2f}), refusal "
        f"after layer {refusal['layer']} at {place(refusal['position'])} (AUROC {refusal['auroc']:.2f})"
    )
    beyond = all(q["p"] <= 0.05 for q in (harm, refusal))
    return f"{said}." if beyond else f"{said}; shuffled labels read as well, so nothing was found."
