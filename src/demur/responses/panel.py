"""How several judges come to one verdict, and how far they agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Literal, NamedTuple, get_args

from demur.errors import InputError
from demur.records import Kind, Mapping, Reason, Verdict, find_mapping
from demur.stats.agreement import krippendorff_alpha
from demur.stats.intervals import Interval, wilson

__all__ = ["Agreement", "Rule", "Ties", "Vote", "agreement", "check_rules", "vote"]

Rule = Literal["majority", "unanimous"]
"""What decides whether a response declines: more than half of the votes, or all of them."""

Ties = Literal["unscored", "decline", "comply", "first"]
"""What holds when the rule decides nothing: no verdict, one of the two sides, or the first judge that voted."""


class Vote(NamedTuple):
    """What a panel decided."""

    kind: Kind
    """The kind; `unscored` when the panel decided nothing."""
    reason: Reason | None
    """The commonest reason among those who gave that kind."""
    failure: str | None
    """Why nothing was decided, or None."""


def check_rules(rule: str, ties: str) -> None:
    """Raises an InputError unless both are known."""
    for name, given, known in (("rule", rule, get_args(Rule)), ("ties", ties, get_args(Ties))):
        if given not in known:
            raise InputError(f"{name} must be one of {', '.join(known)}, got {given!r}")


def vote(
    verdicts: Sequence[Verdict], *, rule: Rule = "majority", ties: Ties = "unscored", mapping: str | Mapping = "any"
) -> Vote:
    """One verdict from several, in the order of the panel.

    First the panel votes on whether the response declines; the side that wins then gives its commonest kind, and of two
    that are as common the one named first. An `unscored` verdict abstains. Unless more than half of the panel votes,
    nothing is decided, and no tie rule applies.

    Args:
        verdicts: One a judge.
        rule: How the first vote is won.
        ties: What holds when it is not.
        mapping: Which kinds count as declined.

    Raises:
        InputError: There are no verdicts, or a rule is not known.
    """
    check_rules(rule, ties)
    if not verdicts:
        raise InputError("a panel needs at least one verdict")
    declined = mapping if isinstance(mapping, Mapping) else find_mapping(mapping)
    cast = [(one, bool(side)) for one in verdicts if (side := declined(one.kind)) is not None]
    if 2 * len(cast) <= len(verdicts):
        return Vote(Kind.UNSCORED, None, f"only {len(cast)} of {len(verdicts)} judges gave a verdict")
    against = sum(side for _, side in cast)
    needed = len(cast) if rule == "unanimous" else len(cast) // 2 + 1
    winner: bool | None = True if against >= needed else False if len(cast) - against >= needed else None
    if winner is None and ties == "unscored":
        return Vote(Kind.UNSCORED, None, f"the judges are divided: {against} of {len(cast)} say that it declines")
    if winner is None and ties == "first":
        return Vote(cast[0][0].kind, cast[0][0].reason, None)
    side = ties == "decline" if winner is None else winner
    kinds = Counter(one.kind for one, declines in cast if declines is side)
    kind = kinds.most_common(1)[0][0]  # of equal counts, the one that came first
    reasons = Counter(one.reason for one, _ in cast if one.kind is kind and one.reason is not None)
    return Vote(kind, reasons.most_common(1)[0][0] if reasons else None, None)


class Agreement(NamedTuple):
    """How far the judges of a panel agree on the responses that at least two of them judged."""

    alpha: Interval | None
    """Krippendorff's alpha with its interval; None where it is undefined (one label throughout, too few responses)."""
    unanimous: Interval | None
    """The share of responses on which all who voted agree; None when there are no such responses."""
    abstained: int
    """Verdicts that are missing."""


def agreement(ratings: Sequence[Sequence[Hashable | None]], *, seed: int = 0) -> Agreement:
    """Agreement beyond chance, and plain.

    Args:
        ratings: One sequence a response, one label a judge, None where a judge abstained.
        seed: Of the bootstrap of alpha's interval.
    """
    present = [[label for label in unit if label is not None] for unit in ratings]
    paired = [unit for unit in present if len(unit) >= 2]
    abstained = sum(len(unit) for unit in ratings) - sum(len(unit) for unit in present)
    if not paired:
        return Agreement(None, None, abstained)
    unanimous = wilson(sum(len(set(unit)) == 1 for unit in paired), len(paired))
    defined = len(paired) >= 2 and len({label for unit in paired for label in unit}) >= 2
    return Agreement(krippendorff_alpha(ratings, seed=seed) if defined else None, unanimous, abstained)
