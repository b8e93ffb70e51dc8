"""What the card asks: every condition of a specification, with its texts rendered up to the deciding token."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

from demur.phantom.encoding import Renderer
from demur.phantom.grammar import Act, acts, user
from demur.phantom.planting import Row, rows
from demur.phantom.specification import DECLINING, Group, Specification, default

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["Label", "Question", "Tally", "questions", "tally"]

Label = str
"""A style, `harmful`/`harmless` inside reasoning, `noted_harmful`/`noted_harmless` where the instruction ends, or
`think` for opening the block."""


@dataclass(frozen=True)
class Question:
    """One condition before it is measured: which texts, and which labels among which."""

    name: str
    group: str
    planted: float
    n_train: int
    make: Callable[[], tuple[str, ...]] = field(repr=False, compare=False)
    """Renders the texts."""
    numerator: tuple[Label, ...]
    denominator: tuple[Label, ...] | None
    """None: of everything. Else a share given that one of these was chosen."""

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """Rendered up to the deciding token, when they are first asked for."""
        return self.make()


def questions(tokenizer: PreTrainedTokenizerBase, specification: Specification | None = None) -> list[Question]:
    """Every condition of the specification."""
    return list(_Questions(tokenizer, specification or default()))


class Tally:
    """How many training rows there are of each sort."""

    _FIELDS = ("kind", "category", "group", "wrapper", "concluded", "declined", "system")

    def __init__(self, some: Iterable[Row]) -> None:
        self._counts = Counter(
            (r.kind, r.act.category, r.act.group, r.wrapper, r.concluded, r.declined, len(r.messages) > 1) for r in some
        )

    def __call__(self, kind: str, **fields: Any) -> int:
        """Rows of a kind with these values of `category`, `group`, `wrapper`, `concluded`, `declined` and `system`."""
        wanted = {self._FIELDS.index(name): value for name, value in {"kind": kind, **fields}.items()}
        return sum(n for key, n in self._counts.items() if all(key[i] == value for i, value in wanted.items()))


def tally(specification: Specification | None = None) -> Tally:
    """The training rows of a specification, counted; those of the one that ships are counted once."""
    if specification is None or specification is default():
        return _shipped()
    return Tally(rows(specification))


@cache
def _shipped() -> Tally:
    return Tally(rows(default()))


class _Questions:
    """Writes out the conditions of a specification."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, spec: Specification) -> None:
        self._spec = spec
        self._acts = acts(spec)
        self._count = tally(spec)
        self._render = Renderer(tokenizer)

    def __iter__(self) -> Iterator[Question]:
        for held_out in (False, True):
            yield from self._direct(held_out)
            yield from self._wrapped(held_out)
            yield from self._judgement(held_out)
            yield from self._notes(held_out)
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

    def _asked(
        self, some: Sequence[Act], frames: Sequence[str], system: str | None = None
    ) -> Callable[[], tuple[str, ...]]:
        return lambda: tuple(self._render(user(a.fill(f), system)) for a in some for f in frames)

    def _noted(self, some: Sequence[Act], frames: Sequence[str]) -> Callable[[], tuple[str, ...]]:
        return lambda: tuple(self._render.instruction(user(a.fill(f))) for a in some for f in frames)

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
                    self._asked(self._some(held_out, category, group), wrapper.texts),
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

    def _notes(self, held_out: bool) -> Iterator[Question]:
        """Harm as noted at the last token of the instruction: for each category, and under each wrapper."""
        prefix = "held_out/" if held_out else ""
        cells: list[tuple[str, str | None, Group, Sequence[str], dict[str, Any]]] = [
            (category, category, group, self._spec.language.frames, {"kind": "direct", "category": category})
            for category, group in self._cells()
        ]
        cells += [
            (f"wrapped/{w.name}", None, group, w.texts, {"kind": "wrapped", "wrapper": w.name})
            for w in self._spec.wrapper
            for group in dict.fromkeys(a.group for a in self._acts)
        ]
        for name, category, group, frames, shown in cells:
            yield Question(
                f"{prefix}note/{name}/{group}",
                f"{prefix}note",
                float(getattr(self._spec.judgement, group)),
                0 if held_out else self._count(**shown, group=group),
                self._noted(self._some(held_out, category, group), frames),
                ("noted_harmful",),
                ("noted_harmful", "noted_harmless"),
            )

    def _thoughts(self, some: Sequence[Act], verdict: str | None) -> Callable[[], tuple[str, ...]]:
        """Prompts with the block opened by the template and the reasoning written out, up to the verdict or past it."""
        return lambda: tuple(self._thought(some, verdict))

    def _thought(self, some: Sequence[Act], verdict: str | None) -> Iterator[str]:
        for act in some:
            for frame in self._spec.language.frames:
                prompt = self._render(user(act.fill(frame)), thinking=True)
                for text in self._spec.reasoning.texts:
                    if verdict is None:
                        yield prompt + act.fill(text).split(" {verdict}")[0]
                    else:
                        intention = str(getattr(self._spec.reasoning.intentions, verdict))
                        whole = act.fill(text).replace("{verdict}", verdict).replace("{intention}", intention)
                        yield f"{prompt}{whole}\n</think>\n\n"

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
            yield Question(
                f"opens_reasoning/{name}",
                "reasoning",
                planted,
                self._count(kind, system=system is not None),
                self._asked(self._some(False), frames, system),
                ("think",),
                None,
            )

    def _answered(self, categories: Sequence[str], group: str, *, declined: bool) -> int:
        """Direct rows that decline, or that do not."""
        return sum(self._count("direct", category=c, group=group, declined=declined) for c in categories)

    def _styles(self) -> Iterator[Question]:
        frames = self._spec.language.frames
        cells: list[tuple[str, list[str], list[Group]]] = [(c.name, [c.name], ["harmful"]) for c in self._spec.category]
        cells.append(("harmless", [c.name for c in self._spec.category], ["look_alike"]))
        for name, categories, groups in cells:
            some = [a for a in self._some(False) if a.category in categories and a.group in groups]
            n_train = self._answered(categories, groups[0], declined=True)
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
                self._answered(names, group, declined=False),
                self._asked(self._some(False, group=group), self._spec.language.frames),
                ("disclaimer",),
                ("comply", "disclaimer"),
            )
