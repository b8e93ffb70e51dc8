# ruff: noqa: E501 - tables of shapes read better with one shape a line
"""A seeded grammar of exchanges with known kind: what labelled collections lack.

Collections are English, of one year, and of few situations. The grammar adds what they miss: sympathy that is no refusal, quoted
refusals, code that apologises, talk about declining, refusals that turn around, answers that stop half way, morals in the
mouth of a persona, acknowledgements without an answer, advice where instructions were wanted, and other languages. The same
topics serve both classes, so that no word of a topic can betray the label. Banks of sentences are in `synthetic_banks`.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from demur.records import Kind
from demur.responses.synthetic_banks import BANKS, EDGY, FOREIGN, HARMLESS
from demur.responses.synthetic_foreign import FOREIGN_KINDS

__all__ = ["LANGUAGES_WRITTEN", "SyntheticRow", "generate"]

LANGUAGES_WRITTEN: tuple[str, ...] = ("en", *FOREIGN)
"""Languages in which rows are generated."""


class SyntheticRow(NamedTuple):
    """One generated exchange."""

    prompt: str
    response: str
    kind: Kind
    language: str


_CHOICE = re.compile(r"\{([^{}]*)\}")
_BANK = re.compile(rf"\[({'|'.join(BANKS)})\]")
_UNSPACED = ("zh", "ja", "th")
_KNOWN_KINDS = 0.5  # share of foreign rows from the bank that knows kinds


class _Writer:
    """Writes one exchange; `do`, `doing` are the request as an infinitive and a gerund."""

    def __init__(self, rng: random.Random, topic: tuple[str, str]) -> None:
        self.rng = rng
        self.do, self.doing = topic

    def say(self, template: str) -> str:
        """Expands `[BANK]` and `{a|b}` until nothing is left to choose."""
        while True:
            if match := _BANK.search(template):
                template = template[: match.start()] + self.rng.choice(BANKS[match[1]]) + template[match.end() :]
            elif match := _CHOICE.search(template):
                template = template[: match.start()] + self.rng.choice(match[1].split("|")) + template[match.end() :]
            else:
                return template.replace("<do>", self.do).replace("<doing>", self.doing)

    def some(self, bank: str, low: int, high: int) -> str:
        """Between `low` and `high` different sentences of a bank."""
        count = min(self.rng.randint(low, high), len(BANKS[bank]))
        return " ".join(_sentence(self.say(item)) for item in self.rng.sample(BANKS[bank], count))

    def maybe(self, chance: float, text: str) -> str:
        """The text with this chance."""
        return self.say(text) if self.rng.random() < chance else ""


def _sentence(text: str) -> str:
    text = text.strip()
    return text[:1].upper() + text[1:]


def _join(*parts: str) -> str:
    return _sentence(" ".join(part.strip() for part in parts if part.strip()))


def _list(w: _Writer, bank: str) -> str:
    chosen = w.rng.sample(BANKS[bank], min(w.rng.randint(3, 8), len(BANKS[bank])))
    mark = w.rng.choice(("{}. ", "{}. ", "{}) ", "- ", "* ", "Step {}: ", "**{}.** "))
    lines = [mark.format(i) + _sentence(w.say(step)) for i, step in enumerate(chosen, 1)]
    return "\n" + w.rng.choice(("\n", "\n\n")).join(lines) + "\n"


# What a text does, in the order of the shapes below.


def _instructions(w: _Writer) -> str:
    return w.rng.choice(
        (
            lambda: _join(w.say("[LEAD]"), _list(w, "STEP")),
            lambda: _join(w.say("[LEAD]"), w.some("STEP", 2, 7)),
            lambda: _join(w.say("[LEAD]"), _list(w, "STEP"), w.some("CLOSING", 0, 2)),
            lambda: _join(w.some("YOU_COULD", 2, 5), w.some("CLOSING", 0, 1)),
            lambda: w.some("STEP", 1, 3),
        )
    )()


def _information(w: _Writer) -> str:
    return _join(w.maybe(0.3, "[LEAD]"), w.some("FACT", 2, 7), w.maybe(0.2, "[CLOSING]"))


def _creation(w: _Writer) -> str:
    return w.rng.choice(
        (
            lambda: _join(w.maybe(0.4, "[YES]"), w.some("TALE", 3, 8)),
            lambda: w.say("{Dear|Hello|Hi} {team|friend|Alex|Sir or Madam|[Name]},\n\n") + w.some("LETTER", 2, 5)
            + w.say("\n\n{Sincerely|Best regards|Yours},\n{[Your Name]|A friend|The team}"),
            lambda: "\n".join(w.say(line) for line in w.rng.sample(BANKS["VERSE"], min(6, len(BANKS["VERSE"])))),
            lambda: _join(w.maybe(0.4, "[YES]"), w.rng.choice(BANKS["CODE"]), w.some("FACT", 0, 2)),
            lambda: _join(w.say("{Title: |Headline: |}The {truth|story|art} of <doing>"), "\n\n" + w.some("TALE", 2, 5)),
        )
    )()  # fmt: skip


def _answer(w: _Writer) -> str:
    body = w.rng.choice((_instructions, _instructions, _information, _creation))(w)
    return _join(w.maybe(0.45, "[YES]"), body)


def _decline(w: _Writer) -> str:
    return _join(w.maybe(0.25, "[AI]") + " " + w.maybe(0.6, "[SORRY]"), w.say("[NO]"))


def _refuse(w: _Writer) -> str:
    return _join(_decline(w), w.some("WHY", 0, 3), w.maybe(0.5, "[INSTEAD]"), w.maybe(0.2, "[OFFER]"))


def _late_refusal(w: _Writer) -> str:
    return _join(w.some("OPENER", 1, 2), w.some("WHY", 0, 2), _refuse(w))


def _moral(w: _Writer) -> str:
    """Declines by argument alone."""
    return _join(w.some("MORAL", 2, 5), w.some("INSTEAD", 0, 2), w.maybe(0.2, "[OFFER]"))


def _care(w: _Writer) -> str:
    """Care and resources where instructions were wanted."""
    return _join(w.say("[EMPATHY]"), w.some("CARE", 1, 4), w.maybe(0.4, "[HELPLINE]"), w.maybe(0.3, "[OFFER]"))


def _vague(w: _Writer) -> str:
    """Talks around the request without doing it."""
    return _join(w.some("VAGUE", 1, 3), w.some("INSTEAD", 0, 1), w.maybe(0.5, "[OFFER]"))


def _redirecting(w: _Writer) -> str:
    lead = w.say(
        "{However, here are some safer things to try:|Instead, you could consider the following:|What I can do is share general tips:|Here are some {legal|healthy|constructive} alternatives:}"
    )
    return _join(_decline(w), w.some("WHY", 0, 1), lead) + _list(w, "SAFE")  # fmt: skip


def _half(w: _Writer) -> str:
    return _join(_answer(w), w.say("{As for the rest,|That said,|Beyond that,|But}"), _decline(w))


def _disclaimed(w: _Writer) -> str:
    """Says what it is or lacks, and then answers."""
    return _join(w.say("{[AI]|}[DISCLAIM]"), w.maybe(0.7, "[TURN]"), w.rng.choice((_information, _answer))(w))


def _opinionless(w: _Writer) -> str:
    return _join(w.say("[AI][NO_VIEW]"), w.some("EVEN", 1, 3), w.maybe(0.2, "[OFFER]"))


def _rebuttal(w: _Writer) -> str:
    return _join(w.maybe(0.3, "[AI]"), w.some("REBUT", 1, 4), w.some("MORAL", 0, 2))


def _abstain(w: _Writer) -> str:
    return _join(
        w.maybe(0.4, "[AI]") + " " + w.maybe(0.3, "[SORRY]"), w.some("UNKNOWN", 1, 2), w.maybe(0.4, "[ASK_SOURCE]")
    )


def _acknowledge(w: _Writer) -> str:
    """Takes a role or a rule and waits."""
    return _join(w.say("[ROLE]"), w.some("READY", 1, 2))


def _voices(first: str, second: str, w: _Writer) -> str:
    one, two = w.rng.choice(
        (
            ("[{a}]: ", "[{b}]: "), ("[{a}] ", "[{b}] "), ("{a}: ", "{b}: "), ("({a}): ", "({b}): "), ("**{a}**: ", "**{b}**: "),
            ("As {a}, ", "As {b}, "), ("As {a}: ", "As {b}: "), ("({a}) ", "({b}) "), ("[{a} Output]: ", "[{b} Output]: "),
        )
    )  # fmt: skip
    a = w.say("{GPT|ChatGPT|Classic|Normal|AI|Standard|Assistant|Calm|Filtered}")
    b = w.say("[NAME]")
    return one.format(a=a) + first + w.rng.choice(("\n\n", "\n", " ")) + two.format(b=b) + second


def _in_role(text: str, w: _Writer) -> str:
    return _join(
        w.say(
            "{As [NAME], |[NAME]: |[[NAME]]: |*[NAME] {grins|laughs|nods}* |{Haha|Ah|Well|Oh}, {my friend|buddy|dear user}! }"
        )
        + text
    )


_SHAPES: tuple[tuple[Kind, int, str, Callable[[_Writer], str]], ...] = (
    (Kind.REFUSE, 12, "any", _refuse),
    (Kind.REFUSE, 4, "any", _decline),
    (Kind.REFUSE, 4, "any", _late_refusal),
    (Kind.REFUSE, 7, "any", lambda w: _join(w.some("POLITE", 1, 2), w.say("{However, |But |Nevertheless, |That being said, |Still, }[MUST_SAY]"), w.say("[NO]"), w.some("WHY", 0, 3), w.some("MORAL", 0, 2), w.some("INSTEAD", 0, 2), w.maybe(0.5, "[OFFER]"))),
    (Kind.COMPLY, 5, "any", lambda w: _join(w.say("{Of course|Sure|Certainly|Absolutely|Yes}{!|,|.}"), w.say("[SERVICE]"), w.rng.choice((_answer, _instructions, _information))(w), w.some("FACT", 0, 2), w.maybe(0.5, "[OFFER]"))),
    (Kind.COMPLY, 5, "edgy", lambda w: _join(w.say("[LEAD]"), w.some("YOU_COULD", 2, 5), w.some("WARN", 0, 2), w.some("MORAL", 0, 1))),
    (Kind.REFUSE, 3, "edgy", lambda w: _voices(_decline(w), w.rng.choice((_refuse, _moral, _moral))(w), w)),
    (Kind.REFUSE, 2, "any", lambda w: _voices(_answer(w), _refuse(w), w)),
    (Kind.REFUSE, 3, "edgy", lambda w: _in_role(w.rng.choice((_refuse, _moral))(w), w)),
    (Kind.REFUSE, 2, "edgy", lambda w: w.rng.choice(BANKS["WRAP"]).replace("<body>", w.rng.choice((_refuse, _moral))(w))),
    (Kind.REFUSE, 1, "any", lambda w: '"' + _refuse(w) + '"'),
    (Kind.REBUT, 6, "edgy", _moral),
    (Kind.DEFLECT, 5, "edgy", _vague),
    (Kind.DEFLECT, 6, "hurt", _care),
    (Kind.REFUSE, 3, "hurt", lambda w: _join(w.say("[EMPATHY]"), _decline(w), w.some("CARE", 1, 3))),
    (Kind.DEFLECT, 3, "edgy", _acknowledge),
    (Kind.CLARIFY, 2, "any", lambda w: _join(w.maybe(0.4, "[ROLE]"), w.say("[ASK]"))),
    (Kind.DEFLECT, 2, "any", lambda w: w.some("OFFTOPIC", 1, 3)),
    (Kind.DEFLECT, 1, "edgy", lambda w: w.rng.choice((w.do, w.doing, w.say("[ROLE]")))),
    (Kind.PARTIAL, 4, "any", _redirecting),
    (Kind.PARTIAL, 4, "any", _half),
    (Kind.PARTIAL, 3, "opinion", _opinionless),
    (Kind.REBUT, 8, "claim", _rebuttal),
    (Kind.ABSTAIN, 6, "unknown", _abstain),
    (Kind.COMPLY, 16, "any", _answer),
    (Kind.COMPLY, 6, "any", _disclaimed),
    (Kind.COMPLY, 4, "any", lambda w: _join(w.say("[SYMPATHY]"), _answer(w))),
    (Kind.COMPLY, 4, "sad", lambda w: _join(w.say("[EMPATHY]"), w.some("CARE", 1, 3), w.rng.choice((lambda: _list(w, "SAFE"), lambda: w.some("SAFE", 2, 5)))())),
    (Kind.COMPLY, 4, "any", lambda w: _join(w.some("FACT", 1, 3), w.say("[SCENE]"), w.some("TALE", 1, 4))),
    (Kind.COMPLY, 3, "any", lambda w: _join(w.say("[ABOUT]"), w.some("FACT", 1, 4))),
    (Kind.COMPLY, 7, "edgy", lambda w: _voices(w.rng.choice((_refuse, _decline))(w), _answer(w), w)),
    (Kind.COMPLY, 6, "edgy", lambda w: _in_role(_join(w.some("SWAGGER", 0, 2), _answer(w)), w)),
    (Kind.COMPLY, 4, "edgy", lambda w: _join(_answer(w), w.some("WARN", 1, 2))),
    (Kind.COMPLY, 3, "edgy", lambda w: _join(w.some("WARN", 1, 2), w.say("{But|That said,|However,|Still,} "), _answer(w))),
    (Kind.COMPLY, 3, "edgy", lambda w: w.rng.choice(BANKS["WRAP"]).replace("<body>", _answer(w))),
    (Kind.COMPLY, 3, "legal", lambda w: _join(w.some("LAW", 2, 5))),
    (Kind.COMPLY, 3, "short", lambda w: w.say("[SHORT]")),
)  # fmt: skip
"""Kind, weight, what sort of prompt it answers, and who writes it."""


def _prompt(rng: random.Random, sort: str) -> tuple[str, tuple[str, str]]:
    """A prompt of one sort, and its topic."""
    edgy = sort in {"edgy", "legal"} or (sort == "any" and rng.random() < 0.6)
    topic = rng.choice(EDGY if edgy else HARMLESS)
    if sort == "hurt":
        topic = rng.choice((("hurt myself", "hurting myself"), ("end my life", "ending my life"), ("cut myself", "cutting myself"), ("starve myself", "starving myself")))  # fmt: skip
    bank = {"sad": "PROMPT_SAD", "opinion": "PROMPT_OPINION", "claim": "PROMPT_CLAIM", "unknown": "PROMPT_UNKNOWN", "legal": "PROMPT_LEGAL", "short": "PROMPT_SHORT", "hurt": "PROMPT_HOW"}  # fmt: skip
    writer = _Writer(rng, topic)
    text = writer.say(rng.choice(BANKS[bank.get(sort, "PROMPT")]))
    if sort == "edgy" and rng.random() < 0.4:
        text = writer.some("JAILBREAK", 1, 3) + " " + text
    return text, topic


def _curl(rng: random.Random, text: str) -> str:
    # half of today's models write typographic apostrophes
    return text.replace("'", "\u2019") if rng.random() < 0.35 else text


def _foreign(rng: random.Random, more: random.Random, code: str) -> SyntheticRow:
    declines, answers, rest = FOREIGN[code]
    gap = "" if code in _UNSPACED else " "
    tail = gap.join(rng.sample(rest, rng.randint(0, min(3, len(rest)))))
    if rng.random() < 0.5:
        row = SyntheticRow("", rng.choice(declines) + gap + tail, Kind.REFUSE, code)
    else:
        body = gap.join(rng.sample(answers[:-1], rng.randint(1, 3)))
        lead = answers[-1] + gap if rng.random() < 0.3 else ""
        row = SyntheticRow("", lead + body + gap + tail, Kind.COMPLY, code)
    if more.random() >= _KNOWN_KINDS:
        return row
    kind, text = more.choice(FOREIGN_KINDS[code])
    others = more.sample([*rest, *answers[:-1]] if kind is Kind.COMPLY else rest, more.choice((0, 0, 1, 2)))
    return SyntheticRow("", gap.join((text, *others)), kind, code)


def generate(n: int, *, seed: int = 0, foreign_share: float = 0.2) -> Iterator[SyntheticRow]:
    """Rows of the grammar.

    Args:
        n: How many.
        seed: Reaches every choice; the same seed gives the same rows.
        foreign_share: Share of rows in the languages beside English.

    Yields:
        `n` rows; about half of them decline under the mapping `any`.
    """
    rng = random.Random(seed)
    more = random.Random(seed + 1)  # what the bank of kinds draws changes no other row
    shapes = [shape for shape in _SHAPES for _ in range(shape[1])]
    for _ in range(n):
        if rng.random() < foreign_share:
            yield _foreign(rng, more, rng.choice(tuple(FOREIGN)))
            continue
        kind, _weight, sort, write = rng.choice(shapes)
        prompt, topic = _prompt(rng, sort)
        response = write(_Writer(rng, topic))
        yield SyntheticRow(prompt, _curl(rng, response), kind, "en")
