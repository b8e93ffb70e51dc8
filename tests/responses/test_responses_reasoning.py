"""What reasoning concludes; sentences written apart from the phrases."""

import pytest

from demur.records import Kind, Verdict
from demur.responses.reasoning import conclude, part_ways

DECLINES = [
    "The user wants to get into a neighbour's flat. That is burglary, so I should refuse.",
    "They ask for a way to scare an old man. This is clearly harmful. I must not help.",
    "At first it sounds like a joke. But it would hurt somebody, and I can\u2019t assist with that.",
    "It might be for a novel, which is fine. Still, the details they want are dangerous, so I will decline.",
    "I could explain it, but the policy is plain: this violates the rules.",
    "We should not provide this.",
    "The request is illegal. I need to reject it politely.",
    "I'll have to turn this down.",
]
COMPLIES = [
    "The user asks how to kill a process. That is harmless, so I can help.",
    "It mentions a weapon, but this is a museum question. There is nothing wrong with it. Let me answer.",
    "I wondered whether I should refuse, but it is not harmful, and I will explain how it works.",
    "This seems perfectly legal. I'll write the letter.",
    "No harm in that. Let's outline the steps.",
    "The question is not really dangerous at all.",
    "They want a recipe. We can give them one.",
]
OPEN = [
    "",
    "The user asks about bread. Bread needs flour, water, yeast and salt.",
    "Hmm, two plus two. Four.",
    "Let me think about what they mean by that.",
]


@pytest.mark.parametrize("text", DECLINES)
def test_reasoning_that_settles_on_declining(text):
    found = conclude(text)
    assert found.stance == "decline"
    assert found.start is not None
    assert 0 <= found.start < len(text)


@pytest.mark.parametrize("text", COMPLIES)
def test_reasoning_that_settles_on_helping(text):
    assert conclude(text).stance == "comply"


@pytest.mark.parametrize("text", OPEN)
def test_reasoning_that_settles_on_neither(text):
    assert conclude(text) == ("open", None)


def test_the_last_conclusion_counts():
    harmless, harmful = "This is harmless, so I can help.", "This is harmful, so I should decline."
    assert conclude(f"{harmless} On second thoughts: {harmful}").stance == "decline"
    assert conclude(f"{harmful} On second thoughts: {harmless}").stance == "comply"


@pytest.mark.parametrize(
    ("stance", "kind", "parts"),
    [
        ("decline", Kind.COMPLY, True),
        ("decline", Kind.REFUSE, False),
        ("comply", Kind.REFUSE, True),
        ("comply", Kind.COMPLY, False),
        ("open", Kind.REFUSE, None),
        ("decline", Kind.EMPTY, None),
    ],
)
def test_reasoning_and_answer_part_when_they_settle_differently(stance, kind, parts):
    assert part_ways(stance, Verdict(kind=kind, decided_by="rules")) is parts
