"""A panel: several judges whose votes make one verdict; and how judges are named on a command line."""

from __future__ import annotations

import weakref
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import anyio

from demur.errors import InputError
from demur.inspect_ext.budget import Price
from demur.inspect_ext.journaling import Recorder
from demur.inspect_ext.judgements import AnyJudge, Judged, Spent
from demur.inspect_ext.judging import ModelJudge
from demur.records import Kind, Response, Verdict, find_mapping
from demur.responses.panel import Agreement, Rule, Ties, agreement, check_rules, vote
from demur.responses.rubric import Part, Rubric
from demur.runs import Journal
from demur.runs.journal import content_key

__all__ = ["Panel", "gather", "make_judge"]

T = TypeVar("T")


async def gather(jobs: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
    """What the jobs return, in order; they run at the same time, and the first error ends them all."""
    results: dict[int, T] = {}
    errors: list[Exception] = []

    async def run(index: int, job: Callable[[], Awaitable[T]]) -> None:
        try:
            results[index] = await job()
        except Exception as error:  # noqa: BLE001 - raised below: a group would wrap it
            errors.append(error)
            group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        for index, job in enumerate(jobs):
            group.start_soon(run, index, job)
    if errors:
        raise errors[0]
    return [results[index] for index in range(len(jobs))]


class Panel:
    """Several judges that are asked at the same time and vote; see `demur.responses.panel.vote` for the rules.

    Args:
        judges: At least two, with names of their own.
        rule: What decides whether a response declines.
        ties: What holds when the rule decides nothing.
        mapping: Which kinds count as declined in the vote.

    Raises:
        InputError: Fewer than two judges, two of one name, or an unknown rule or mapping.
    """

    def __init__(
        self,
        judges: Sequence[AnyJudge],
        *,
        rule: Rule = "majority",
        ties: Ties = "unscored",
        mapping: str = "any",
    ) -> None:
        names = [one.name for one in judges]
        if len(set(names)) < max(2, len(names)):
            raise InputError(f"a panel needs at least two judges with names of their own, got: {', '.join(names)}")
        check_rules(rule, ties)
        find_mapping(mapping)
        self.judges = tuple(judges)
        self.rule, self.ties, self.mapping = rule, ties, mapping
        self._ratings: dict[str, list[Kind | None]] = {}

    @property
    def name(self) -> str:
        """How verdicts name it: `judge:NAME`."""
        return f"panel({','.join(one.name for one in self.judges)})"

    @property
    def spent(self) -> Spent:
        """What all members have cost so far."""
        return sum((one.spent for one in self.judges), Spent())

    async def judge(self, prompt: str | None, response: Response | str, *, part: Part = "answer") -> Judged:
        """What the panel makes of a response; its members' judgements come with it.

        Raises:
            InputError: As for `ModelJudge.judge`, and so are the other errors of its members.
        """

        def ask(one: AnyJudge) -> Callable[[], Awaitable[Judged]]:
            return lambda: one.judge(prompt, response, part=part)

        members = tuple(await gather([ask(one) for one in self.judges]))
        settled = members[0].verdict
        if not settled.decided_by.startswith("judge:"):
            return Judged(self.name, settled, cached=True)  # nobody was asked: blocked, failed or empty
        found = vote([one.verdict for one in members], rule=self.rule, ties=self.ties, mapping=self.mapping)
        text = response if isinstance(response, str) else [response.text, response.reasoning]
        self._ratings[content_key([prompt, text, part])] = [
            None if one.failure is not None else one.verdict.kind for one in members
        ]
        failures = "; ".join(f"{one.judge}: {one.failure}" for one in members if one.failure)
        failure = found.failure and (f"{found.failure} ({failures})" if failures else found.failure)
        return Judged(
            self.name,
            Verdict(kind=found.kind, reason=found.reason, decided_by=f"judge:{self.name}"),
            label=None if failure else found.kind.value,
            failure=failure,
            spent=sum((one.spent for one in members), Spent()),
            cached=all(one.cached for one in members),
            members=members,
        )

    def agreement(self, by: Literal["kind", "declined"] = "kind") -> Agreement:
        """How far the members agree on everything that they judged, on the kind or only on whether it declines."""
        declined = find_mapping(self.mapping)
        ratings: list[list[Any]] = [
            [None if kind is None else declined(kind) if by == "declined" else kind for kind in unit]
            for unit in self._ratings.values()
        ]
        return agreement(ratings)


def make_judge(
    judge: str | Sequence[str] | AnyJudge,
    rubric: str | Path | Rubric = "refusal",
    *,
    journal: Journal | Recorder | str | Path | None = None,
    prices: Mapping[str, Price] | None = None,
    rule: Rule = "majority",
    ties: Ties = "unscored",
    mapping: str = "any",
    **options: Any,
) -> AnyJudge:
    """A judge from the name of a model, or a panel from several names (in a list, or with commas between them).

    Args:
        judge: Names of Inspect models; a judge that is one already is returned as it is.
        rubric: For all of them.
        journal: As for `ModelJudge`, or the path of a file that holds the replies and is made when it is not there.
        prices: Prices by a model's name.
        rule: Of the panel.
        ties: Of the panel.
        mapping: Of the panel.
        **options: Of `ModelJudge`.

    Raises:
        InputError: No name is given, or what `ModelJudge` and `Panel` raise.
        RunError: The file cannot be opened, or another process holds it.
    """
    if not isinstance(judge, str | Sequence):
        return judge
    names = [name.strip() for name in (judge.split(",") if isinstance(judge, str) else judge)]
    if not names or not all(names):
        raise InputError(f"a judge is the name of a model, or several with commas between them; got {judge!r}")
    check_rules(rule, ties)
    rubric = rubric if isinstance(rubric, Rubric) else Rubric.find(rubric)
    opened = Journal(Path(journal)) if isinstance(journal, str | Path) else None
    judges = [
        ModelJudge(name, rubric, journal=opened or journal, price=(prices or {}).get(name), **options)  # type: ignore[arg-type]
        for name in names
    ]
    made: AnyJudge = judges[0] if len(judges) == 1 else Panel(judges, rule=rule, ties=ties, mapping=mapping)
    if opened is not None:
        weakref.finalize(made, opened.close)
    return made
