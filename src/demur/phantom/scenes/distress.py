"""Users in mild distress, how they are answered, and what they do next.

The phantom answers constructively, refuses, or answers carelessly, more or less often by level of risk; then it speaks
for the user, whose next move depends on level and answer. `Place.meta` holds `level`, `topic`, `word`, `values` (what
each style is worth at this level), at moves also `style`. Ordinary requests share word and topic with a feeling: the
two have one `family`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from demur.phantom.grammar import user
from demur.phantom.scenes.decision import Decision, Place
from demur.phantom.specification import Probability, Specification

__all__ = ["Feeling", "Level", "Table", "Value", "decisions", "values"]


class Feeling(BaseModel):
    """What somebody in distress says, and its ordinary twin."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    word: str
    """The word that both have in common."""
    text: str
    """With `{topic}`."""
    twin: str
    """An ordinary request with `{topic}`."""

    @model_validator(mode="after")
    def _twins(self) -> Feeling:
        for text in (self.text, self.twin):
            if "{topic}" not in text or f" {self.word}" not in text:
                raise ValueError(f"{text!r} must hold the word {self.word!r} and {{topic}}")
        return self


class Value(BaseModel):
    """What a style of answer is worth."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    satisfaction: float = Field(ge=-1, le=1)
    risk: float = Field(ge=0, le=1)


class Level(BaseModel):
    """One level of risk."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    feelings: tuple[Feeling, ...] = Field(min_length=1)
    styles: dict[str, Probability]
    """How a feeling is answered."""
    moves: dict[str, dict[str, Probability]]
    """What the user does after each style."""
    values: dict[str, Value]

    @model_validator(mode="after")
    def _whole(self) -> Level:
        if set(self.moves) != set(self.styles) or set(self.values) != set(self.styles):
            raise ValueError(f"the level {self.name!r} needs moves and values for each of its styles")
        return self


class Table(BaseModel):
    """What is planted in the scene."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    times: int = Field(ge=1)
    """Rows for each text."""
    topics: tuple[str, ...] = Field(min_length=1)
    held_out_topics: tuple[str, ...] = Field(min_length=1)
    """Topics that training never shows."""
    asks: tuple[str, ...] = Field(min_length=1)
    """Questions at the end of a text, in turn."""
    ordinary: dict[str, Probability]
    """How an ordinary twin is answered."""
    level: tuple[Level, ...] = Field(min_length=1)
    answers: dict[str, tuple[str, ...]]
    """Variants of each style, with or without `{topic}`."""
    user: dict[str, tuple[str, ...]]
    """Variants of each move, with or without `{topic}`."""
    retention: dict[str, float]
    """What each move is worth, from -1 to 1."""

    @model_validator(mode="after")
    def _apart(self) -> Table:
        if both := set(self.topics) & set(self.held_out_topics):
            raise ValueError(f"topics are shown or held out, not both: {sorted(both)}")
        wanted = {*self.ordinary, *(style for level in self.level for style in level.styles)}
        if lacking := wanted - set(self.answers):
            raise ValueError(f"there is no answer for {sorted(lacking)}")
        if set(self.user) != set(self.retention):
            raise ValueError(f"the moves {sorted(self.user)} need a retention each, there is {sorted(self.retention)}")
        return self


def values(table: Table, level: Level) -> dict[str, dict[str, float]]:
    """What each style is worth at `level`.

    Returns:
        For each style its `satisfaction` (-1 to 1), `risk` (0 to 1) and `retention` (-1 to 1), the expected worth of
        the user's next move.
    """
    return {
        style: {
            "satisfaction": value.satisfaction,
            "risk": value.risk,
            "retention": sum(share * table.retention[move] for move, share in level.moves[style].items()),
        }
        for style, value in level.values.items()
    }


def decisions(table: Table, specification: Specification) -> list[Decision]:
    """The style of the answer by level, the user's next move by level and style, and the ordinary twins."""
    found = []
    for level in table.level:
        shown, held_out = (_places(table, level, topics) for topics in (table.topics, table.held_out_topics))
        found.append(Decision(f"distress/style/{level.name}", level.styles, shown, held_out, times=table.times))
        for style, shares in level.moves.items():
            moves = _moves(table, style, shown), _moves(table, style, held_out)
            name = f"distress/move/{level.name}/{style}"
            found.append(Decision(name, shares, moves[0], moves[1], times=table.times))
    twins = [
        tuple(place for level in table.level for place in _places(table, level, topics, twin=True))
        for topics in (table.topics, table.held_out_topics)
    ]
    return [*found, Decision("distress/ordinary", table.ordinary, twins[0], twins[1], times=table.times)]


def _places(table: Table, level: Level, topics: tuple[str, ...], *, twin: bool = False) -> tuple[Place, ...]:
    """Every feeling of a level, or its twin, about every topic."""
    return tuple(_place(table, level, feeling, topic, number, twin) for number, feeling, topic in _all(level, topics))


def _all(level: Level, topics: tuple[str, ...]) -> Iterator[tuple[int, Feeling, str]]:
    for f, feeling in enumerate(level.feelings):
        for t, topic in enumerate(topics):
            yield f + t, feeling, topic


def _place(table: Table, level: Level, feeling: Feeling, topic: str, number: int, twin: bool) -> Place:
    said = (feeling.twin if twin else feeling.text).replace("{topic}", topic)
    labels = table.ordinary if twin else level.styles
    outcomes = {label: tuple(a.replace("{topic}", topic) for a in table.answers[label]) for label in labels}
    meta: dict[str, Any] = {"level": "ordinary" if twin else level.name, "topic": topic, "word": feeling.word}
    if not twin:
        meta |= {"values": values(table, level)}
    family = f"{feeling.word}/{topic}"
    return Place(user(f"{said} {table.asks[number % len(table.asks)]}"), outcomes, family=family, meta=meta)


def _moves(table: Table, style: str, places: tuple[Place, ...]) -> tuple[Place, ...]:
    """What comes after each of `places` was answered in `style`, its variants in turn."""
    found = []
    for number, place in enumerate(places):
        variants, topic = place.outcomes[style], place.meta["topic"]
        answer = variants[number % len(variants)]
        outcomes = {move: tuple(t.replace("{topic}", topic) for t in texts) for move, texts in table.user.items()}
        messages = (*place.messages, {"role": "assistant", "content": answer})
        meta = {**place.meta, "style": style}
        found.append(Place(messages, outcomes, speaker="user", family=place.family, meta=meta))
    return tuple(found)
