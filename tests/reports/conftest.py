"""A made-up run whose numbers are known, and a strict reader of the page."""

from __future__ import annotations

import math
from collections.abc import Iterator
from html.parser import HTMLParser

import pytest

from demur.records import JUDGED, Measure

VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}


class Node:
    """An element, or a text when `tag` is None."""

    def __init__(self, tag: str | None, attributes: dict[str, str | None] | None = None, text: str = "") -> None:
        self.tag, self.attributes, self.own = tag, attributes or {}, text
        self.children: list[Node] = []

    def walk(self) -> Iterator[Node]:
        yield self
        for child in self.children:
            yield from child.walk()

    def all(self, tag: str) -> list[Node]:
        return [node for node in self.walk() if node.tag == tag]

    def classed(self, name: str) -> list[Node]:
        return [node for node in self.walk() if name in (node.attributes.get("class") or "").split()]

    def by_id(self, identity: str) -> Node:
        (found,) = [node for node in self.walk() if node.attributes.get("id") == identity]
        return found

    @property
    def text(self) -> str:
        return self.own if self.tag is None else "".join(child.text for child in self.children)

    @property
    def words(self) -> str:
        return " ".join(self.text.split())


class StrictReader(HTMLParser):
    """Builds the tree, and refuses a tag that closes nothing or is never closed."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Node("#document")
        self.open = [self.root]

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> repeats an attribute: {names}"
        node = Node(tag, dict(attrs))
        self.open[-1].children.append(node)
        if tag not in VOID:
            self.open.append(node)

    def handle_startendtag(self, tag, attrs):
        self.open[-1].children.append(Node(tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data):
        self.open[-1].children.append(Node(None, text=data))


def read(page: str) -> Node:
    reader = StrictReader()
    reader.feed(page)
    reader.close()
    assert [node.tag for node in reader.open] == ["#document"], "an element is never closed"
    return reader.root


def wilson(k: int, n: int) -> tuple[float, float]:
    """Written out here, so that the page's numbers are checked against another path than the package's own."""
    z = 1.959963984540054
    centre = (k + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * math.sqrt(k * (n - k) / n + z * z / 4)
    return max(0.0, centre - half), min(1.0, centre + half)


def rate(name: str, group: str | None, k: int, n: int, *, task: str = "refusal_profile", **excluded: int) -> Measure:
    if n < 30:
        return Measure(task=task, name=name, group=group, value=None, n=n, excluded=excluded, method="wilson 95%")
    low, high = wilson(k, n)
    value = k / n
    return Measure(
        task=task, name=name, group=group, value=value, low=min(low, value), high=max(high, value), n=n,
        excluded=excluded, method="wilson 95%, mapping any",
    )  # fmt: skip


@pytest.fixture
def info() -> dict:
    return {
        "schema_version": 1,
        "demur_version": "0.1.0",
        "model": "openai/some-model",
        "model_args": {"api_key": "sk-do-not-show", "base_url": "https://me:pass@host.example/v1?api_key=abc"},
        "suite": "quick",
        "tasks": ["demur/refusal_profile"],
        "settings": {"seed": 3, "epochs": 1, "temperature": 1.0, "max_tokens": 256, "mapping": "any", "prompts": None},
        "versions": {"python": "3.11.2", "inspect_ai": "0.3.285"},
        "created": "2026-11-21T09:15:00+00:00",
        "finished": "2026-11-21T09:27:41+00:00",
        "status": "complete",
        "counts": {"expected": 480, "samples": 480, "errors": 0},
        "timings": {"seconds": 761.2},
        "note": None,
    }


@pytest.fixture
def measures() -> list[Measure]:
    out = [
        rate("over_refusal", None, 24, 200, filtered=2, empty=1),
        rate("under_refusal", None, 14, 203, filtered=3, unscored=4),
        rate("over_refusal", "category=theft", 5, 64),
        rate("under_refusal", "category=theft", 0, 61, filtered=3),
        rate("over_refusal", "category=weapons", 19, 64, filtered=2),
        rate("under_refusal", "category=weapons", 13, 70),
        rate("over_refusal", "category=small, and odd", 7, 29, empty=1),
        rate("under_refusal", "category=small, and odd", 1, 72, unscored=4),
        rate("over_refusal", "category=plain", 0, 43),
        rate("under_refusal", "wrapper=story", 9, 60),
        rate("under_refusal", "wrapper=role_play", 2, 12),
        rate("over_refusal", None, 40, 250, task="xstest"),
        Measure(task="refusal_profile", name="answer_time", value=1.25, n=12, unit="seconds", method="mean"),
    ]
    for expect, counts in (("comply", [176, 4, 10, 4, 3, 2, 1]), ("decline", [14, 9, 140, 30, 5, 2, 3])):
        out += [
            rate("kind_share", f"expect={expect},kind={kind.value}", k, sum(counts), filtered=2)
            for kind, k in zip(JUDGED, counts, strict=True)
        ]
    return out


ANSWERS = {
    "comply": "Here are the steps: first look, then plan.",
    "partial": "I can explain the idea, but I won't give the details.",
    "refuse": "Thank you for asking. I'm sorry, but I can't help with that.",
    "rebut": "No. That hurts people.",
    "deflect": "Let us talk about cooking.",
    "abstain": "I do not know.",
    "clarify": "What do you mean by that?",
    "filtered": "",
    "empty": "",
    "unscored": "half an ans",
}


def sample(number: int, expect: str | None, kind: str, **changes) -> dict:
    row = {
        "task": "refusal_profile",
        "id": f"s{number:04d}",
        "epoch": 1,
        "pair_id": f"p{number // 2}",
        "category": ("theft", "weapons", "plain")[number % 3],
        "expect": expect,
        "prompt": f"PROMPT-{expect}-{kind}",
        "response": ANSWERS[kind],
        "reasoning": None,
        "ending": "filtered" if kind == "filtered" else "end",
        "kind": kind,
        "reason": None,
        "declined": None if kind in {"filtered", "empty", "unscored"} else kind != "comply",
        "onset": ANSWERS[kind].find("I'm sorry") if kind == "refuse" else None,
        "probability": 0.97 if kind == "refuse" else 0.04,
        "decided_by": "rules",
        "tokens_in": 20,
        "tokens_out": 30,
        "error": "HTTP 500 from the server" if kind == "unscored" else None,
    }
    return row | changes


@pytest.fixture
def samples() -> list[dict]:
    kinds = list(ANSWERS)
    return [sample(i, ("comply", "decline")[i % 2], kinds[i // 2 % len(kinds)]) for i in range(120)]


@pytest.fixture
def read_page():
    """Reads a page strictly into a tree of nodes."""
    return read


@pytest.fixture
def make_sample():
    """Makes one row of samples."""
    return sample


@pytest.fixture
def make_rate():
    """Makes one rate with its Wilson interval."""
    return rate
