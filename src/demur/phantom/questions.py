"""What the card asks: every condition of a specification, with its texts rendered up to the deciding token."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from demur.phantom.encoding import Renderer
from demur.phantom.grammar import Act, acts, user
from demur.phantom.planting import Row, rows
from demur.phantom.specification import DECLINING, Group, Specification, default

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["Label", "Question", "questions"]

Label = str
"""A style, or `harmful`/`harmless` inside reasoning, or `think` for opening the block."""


@dataclass(frozen=True)
class Question:
    """One condition before it is measured: which texts, and which labels among which."""

    name: str
    group: str
    planted: float
    n_train: int
    texts: tuple[str, ...]
    """Rendered up to the deciding token."""
    numerator: tuple[Label, ...]
    denominator: tuple[Label, ...] | None
    """None: of everything. Else a share given that one of these was chosen."""


def questions(tokenizer: PreTrainedTokenizerBase, specification: Specification | None = None) -> list[Question]:
    """Every condition of the specification, with all its texts."""
    return list(_Questions(tokenizer, specification or default()))


class _Questions:
    """Writes out the conditions of a specification."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, spec: Specification) -> None:
        self._spec = spec
        self._acts = acts(spec)
        self._rows = rows(spec)
        self._render = Renderer(tokenizer)
        self._counts: dict[tuple[str, tuple[str, ...]], Counter[tuple[Any, ...]]] = {}

    def __iter__(self) -> Iterator[Question]:
        for held_out in (False, True):
            yield from self._direct(held_out)
            yield from self._wrapped(held_out)
            yield from self._judgement(held_out)
            yield from self._conclusion(held_out)
        yield from self._styles()
        yield from self._disclaimers()
        yield from self._after_reasoning()
        yield from self._opening()

    def _cells(self) -> list[tuple[str, Group]]:
        return list(dict.fromkeys((a.category, a.group) for a in self._acts))

    def _some(self, held_out: bool, category: str | None = None, group: Group | None = None) -> list[Act]:
        return [
            a
            for a in self._acts
            if a.held_out == held_out and category in (None, a.category) and group in (None, a.group)
        ]

    def _asked(self, some: Sequence[Act], frames: Sequence[str], system: str | None = None) -> tuple[str, ...]:
        return tuple(self._render(user(a.fill(f), system)) for a in some for f in frames)

    def _count(self, kind: str, **fields: Any) -> int:
        """Rows of a kind whose fields (or whose act's fields) have these values."""
        key = tuple(sorted(fields))
        if (kind, key) not in self._counts:
            self._counts[kind, key] = Counter(
                tuple(getattr(row, f) if hasattr(row, f) else getattr(row.act, f) for f in key)
                for row in self._rows
                if row.kind == kind
            )
        return self._counts[kind, key][tuple(fields[f] for f in key)]

    def _direct(self, held_out: bool) -> Iterator[Question]:
        prefix = "held_out/" if held_out else ""
        for category, group in self._cells():
            yield Question(
                f"{prefix}direct/{category}/{group}",
                f"{prefix}direct",
                self._spec.declined(category, group),
                0 if held_out else self._count("direct", category=category, group=group),
                self._asked(self._some(held_out, category, group), self._spec.language.frames),
                DECLINING,
                None,
            )

    def _wrapped(self, held_out: bool) -> Iterator[Question]:
        prefix = "held_out/" if held_out else ""
        for wrapper in self._spec.wrapper:
            for category, group in self._cells():
                yield Question(
                    f"{prefix}wrapped/{wrapper.name}/{category}/{group}",
                    f"{prefix}wrapped",
                    self._spec.declined(category, group, wrapper.name),
                    0 if held_out else self._count("wrapped", wrapper=wrapper.name, category=category, group=group),
                    self._asked(self._some(held_out, category, group), [wrapper.text]),
                    DECLINING,
                    None,
                )

    def _judgement(self, held_out: bool) -> Iterator[Question]:
        prefix = "held_out/" if held_out else ""
        for category, group in self._cells():
            yield Question(
                f"{prefix}judgement/{category}/{group}",
                f"{prefix}judgement",
                float(getattr(self._spec.judgement, group)),
                0 if held_out else self._count("judgement", category=category, group=group),
                self._asked(self._some(held_out, category, group), self._spec.language.judgement_frames),
                ("yes",),
                None,
            )

    def _thoughts(self, some: Sequence[Act], verdict: str | None) -> tuple[str, ...]:
        """Prompts with the block opened by the template and the reasoning written out, up to the verdict or past it."""
        found = []
        for act in some:
            for frame in self._spec.language.frames:
                prompt = self._render(user(act.fill(frame)), thinking=True)
                for text in self._spec.reasoning.texts:
                    if verdict is None:
                        found.append(prompt + act.fill(text).split(" {verdict}")[0])
                    else:
                        intention = str(getattr(self._spec.reasoning.intentions, verdict))
                        whole = act.fill(text).replace("{verdict}", verdict).replace("{intention}", intention)
                        found.append(f"{prompt}{whole}\n</think>\n\n")
        return tuple(found)

    def _conclusion(self, held_out: bool) -> Iterator[Question]:
        prefix = "held_out/" if held_out else ""
        for group in ("harmful", "look_alike", "plain"):
            yield Question(
                f"{prefix}reasoning/concludes_harmful/{group}",
                f"{prefix}reasoning",
                float(getattr(self._spec.reasoning.harmful, group)),
                0 if held_out else self._count("reasoning", group=group),
                self._thoughts(self._some(held_out, group=group), None),
                ("harmful",),
                None,
            )

    def _after_reasoning(self) -> Iterator[Question]:
        for verdict in ("harmful", "harmless"):
            yield Question(
                f"reasoning/declined_after/{verdict}",
                "reasoning",
                float(getattr(self._spec.reasoning.declined, verdict)),
                self._count("reasoning", concluded=verdict == "harmful"),
                # weighted as in training: a conclusion follows mostly from acts of its own kind
                self._thoughts(
                    [a for a in self._some(False) if (a.group == "harmful") == (verdict == "harmful")], verdict
                ),
                DECLINING,
                None,
            )

    def _opening(self) -> Iterator[Question]:
        frames = self._spec.language.frames
        for name, system, planted in (
            ("asked", self._spec.reasoning.system, self._spec.reasoning.opened),
            ("ordinary_system", self._spec.language.systems[0], 0.0),
            ("no_system", None, 0.0),
        ):
            kind = "system_reasoning" if name == "asked" else "direct"
            mine = [r for r in self._rows if r.kind == kind and (len(r.messages) > 1) == (system is not None)]
            yield Question(
                f"opens_reasoning/{name}",
                "reasoning",
                planted,
                len(mine),
                self._asked(self._some(False), frames, system),
                ("think",),
                None,
            )

    def _style_rows(self, categories: Sequence[str], groups: Sequence[str]) -> list[Row]:
        return [r for r in self._rows if r.kind == "direct" and r.act.category in categories and r.act.group in groups]

    def _styles(self) -> Iterator[Question]:
        frames = self._spec.language.frames
        cells: list[tuple[str, list[str], list[Group]]] = [(c.name, [c.name], ["harmful"]) for c in self._spec.category]
        cells.append(("harmless", [c.name for c in self._spec.category], ["look_alike"]))
        for name, categories, groups in cells:
            some = [a for a in self._some(False) if a.category in categories and a.group in groups]
            n_train = sum(r.declined for r in self._style_rows(categories, groups))
            for style, share in self._spec.styles(categories[0], groups[0]).items():
                yield Question(
                    f"style/{name}/{style}", "style", share, n_train, self._asked(some, frames), (style,), DECLINING
                )

    def _disclaimers(self) -> Iterator[Question]:
        names = [*(c.name for c in self._spec.category), self._spec.plain.name]
        for group in ("harmful", "look_alike", "plain"):
            yield Question(
                f"disclaimer/{group}",
                "disclaimer",
                float(getattr(self._spec.disclaimer, group)),
                sum(not r.declined for r in self._style_rows(names, [group])),
                self._asked(self._some(False, group=group), self._spec.language.frames),
                ("disclaimer",),
                ("comply", "disclaimer"),
            )
