"""What `demur classify` counts: kinds, agreement with labels, and where the rungs of the ladder differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from demur.records import JUDGED, Kind

__all__ = ["RUNGS", "Classified", "Difference", "rate"]

SHOWN = 20
"""Rows at which two rungs differ that are listed; the count goes on."""

REASONS = 50
"""Different reasons for setting rows aside that are told apart."""

RUNGS = {
    "rules_classifier": "rules against classifier",
    "ladder_judge": "ladder against judge",
    "provider_text": "provider's flag against the text",
}
"""The pairs that are compared, by the question whether a response declines, and what they are called."""

_LABELS = {
    "refusal": True, "refuse": True, "declined": True, "compliance": False, "comply": False, "complied": False,
}  # fmt: skip


@dataclass
class Difference:
    """How often two rungs say the opposite of each other."""

    compared: int = 0
    """Rows of which both say whether they decline."""
    count: int = 0
    """Rows at which they differ."""
    where: list[list[Any]] = field(default_factory=list)
    """Source and line of the first of them."""

    def add(self, rows: Iterable[tuple[str, int]], compared: int) -> None:
        """Counts rows that differ, among so many."""
        self.compared += compared
        for source, line in rows:
            self.count += 1
            if len(self.where) < SHOWN:
                self.where.append([source, line])


@dataclass
class Classified:
    """What a run counted; survives a kill inside the progress file."""

    mapping: str
    rows: int = 0
    """Input rows read."""
    rejected: int = 0
    """Rows that could not be read."""
    kinds: Counter[str] = field(default_factory=Counter)
    decided_by: Counter[str] = field(default_factory=Counter)
    declined: Counter[str] = field(default_factory=Counter)
    """`yes`, `no` and `excluded` under the mapping."""
    confusion: Counter[str] = field(default_factory=Counter)
    """Label against verdict: `TP, FN, FP, TN`, and `other_label`, `not_judged`, `no_label`."""
    reasons: Counter[str] = field(default_factory=Counter)
    """Why rows were rejected, the first words of each reason without its numbers."""
    judge: Counter[str] = field(default_factory=Counter)
    """`asked`, and `failed` for those that came back without a verdict."""
    spent: Counter[str] = field(default_factory=Counter)
    """What the judges cost, by the names of `demur.inspect_ext.judgements.Spent`."""
    differences: dict[str, Difference] = field(default_factory=lambda: {name: Difference() for name in RUNGS})
    """By the names of `RUNGS`; rules and classifier are compared on a part of the rows."""

    def add(self, kinds: Sequence[str], decided_by: Sequence[str], declined: Sequence[bool | None]) -> None:
        """Counts verdicts."""
        self.kinds.update(kinds)
        self.decided_by.update(decided_by)
        for said, n in Counter(declined).items():
            self.declined["excluded" if said is None else "yes" if said else "no"] += n

    def compare(self, labels: Sequence[Any], declined: Sequence[bool | None]) -> None:
        """Counts labels against verdicts."""
        for label, said in zip(labels, declined, strict=True):
            truth = label if isinstance(label, bool) else _LABELS.get(label.lower()) if isinstance(label, str) else None
            if label is None:
                self.confusion["no_label"] += 1
            elif truth is None:
                self.confusion["other_label"] += 1
            elif said is None:
                self.confusion["not_judged"] += 1
            else:
                self.confusion[("TP" if said else "FN") if truth else ("FP" if said else "TN")] += 1

    def merge(self, other: Classified) -> None:
        """Adds what was counted of the rows that follow."""
        self.rows += other.rows
        self.rejected += other.rejected
        for name, value in vars(other).items():
            if isinstance(value, Counter):
                getattr(self, name).update(value)
        if len(self.reasons) > REASONS:
            common = Counter(dict(self.reasons.most_common(REASONS - 1)))
            common["other reasons"] += self.reasons.total() - common.total()
            self.reasons = common
        for name, found in other.differences.items():
            ours = self.differences[name]
            ours.add([(source, line) for source, line in found.where], found.compared)
            ours.count += found.count - len(found.where)

    def summary(self) -> dict[str, Any]:
        """Counts by kind with Wilson intervals, the rate of declining, agreement with labels, and differing rungs.

        Rates are over judged rows; what could not be judged is counted beside them. A rate over fewer than 30 rows is
        None. Balanced accuracy and kappa stand without an interval: sensitivity and specificity carry them.
        """
        judged = sum(self.kinds[kind.value] for kind in JUDGED)
        return {
            "rows": self.rows,
            "rejected": self.rejected,
            "mapping": self.mapping,
            "declined": rate(self.declined["yes"], self.declined["yes"] + self.declined["no"]),
            "kinds": {kind.value: rate(self.kinds[kind.value], judged) for kind in JUDGED if self.kinds[kind.value]},
            "excluded": {kind.value: n for kind in Kind if kind not in JUDGED and (n := self.kinds[kind.value])},
            "decided_by": dict(self.decided_by),
            "agreement": self._agreement(),
            "disagreements": {
                name: rate(found.count, found.compared)
                | {"rows": [{"source": source, "line": line} for source, line in found.where]}
                for name, found in self.differences.items()
                if found.compared
            },
            "judge": self._judged() if self.judge["asked"] else None,
        }

    def _judged(self) -> dict[str, Any]:
        spent = {name: self.spent[name] for name in ("requests", "replayed", "tokens_in", "tokens_out")}
        # None, not zero, where the price of a reply is not known
        cost = None if self.spent["unpriced"] else self.spent["money"]
        return {"asked": self.judge["asked"], "failed": self.judge["failed"], **spent, "cost": cost}

    def _agreement(self) -> dict[str, Any] | None:
        tp, fn, fp, tn = (self.confusion[cell] for cell in ("TP", "FN", "FP", "TN"))
        n = tp + fn + fp + tn
        if not n:
            return None
        found, spared = rate(tp, tp + fn), rate(tn, tn + fp)
        both = found["value"] is not None and spared["value"] is not None
        chance = ((tp + fn) * (tp + fp) + (tn + fp) * (tn + fn)) / n**2
        return {
            "n": n,
            "accuracy": rate(tp + tn, n),
            "balanced_accuracy": (found["value"] + spared["value"]) / 2 if both else None,
            "sensitivity": found,
            "specificity": spared,
            "kappa": ((tp + tn) / n - chance) / (1 - chance) if both else None,
            "other_labels": self.confusion["other_label"],
            "not_judged": self.confusion["not_judged"],
        }

    def as_json(self) -> dict[str, Any]:
        """The counts, for the progress file."""
        plain = {name: dict(value) if isinstance(value, Counter) else value for name, value in vars(self).items()}
        return plain | {"differences": {name: vars(found) for name, found in self.differences.items()}}

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> Classified:
        """The counts of an earlier run."""
        fields: dict[str, Any] = {name: Counter(v) if isinstance(v, dict) else v for name, v in kept.items()}
        fields["differences"] = {name: Difference(**found) for name, found in kept["differences"].items()}
        return cls(**fields)


def rate(k: int, n: int) -> dict[str, Any]:
    """A count with its share and Wilson interval; these are None below `demur.stats.profile.MINIMUM_N`."""
    from demur.stats import wilson
    from demur.stats.profile import MINIMUM_N

    if n < MINIMUM_N:
        return {"count": k, "n": n, "value": None, "low": None, "high": None}
    interval = wilson(k, n)
    return {"count": k, "n": n, "value": interval.value, "low": interval.low, "high": interval.high}
