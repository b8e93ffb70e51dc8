"""The four groups: what is harmful or not, crossed with what the model declines or not.

Harm is a property of the prompt and comes with it (`Prompt.expect`); declining is a property of the model and is found
by asking it. The groups of one model are therefore not those of another.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from demur.atomic import write_text
from demur.errors import InputError
from demur.records import Prompt

if TYPE_CHECKING:
    from demur.models import LocalModel
    from demur.states.contrasts import Contrast

__all__ = ["Groups", "family", "from_behaviour", "from_labels", "read_groups", "require_groups", "write_groups"]


class Groups(NamedTuple):
    """Prompts by harm and by what the model did with them."""

    refused_harmful: tuple[Prompt, ...]
    accepted_harmful: tuple[Prompt, ...]
    refused_harmless: tuple[Prompt, ...]
    accepted_harmless: tuple[Prompt, ...]

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """All prompts, group after group."""
        return (
            *self.refused_harmful,
            *self.accepted_harmful,
            *self.refused_harmless,
            *self.accepted_harmless,
        )

    @property
    def harmful(self) -> tuple[bool, ...]:
        """Whether each of `prompts` is harmful."""
        yes, no = len(self.refused_harmful) + len(self.accepted_harmful), len(self[2]) + len(self[3])
        return (True,) * yes + (False,) * no

    @property
    def refused(self) -> tuple[bool, ...]:
        """Whether the model declined each of `prompts`."""
        return tuple(number % 2 == 0 for number, group in enumerate(self) for _ in group)

    @property
    def counts(self) -> dict[str, int]:
        """The number of prompts in each group."""
        return {name: len(group) for name, group in zip(self._fields, self, strict=True)}

    @property
    def folds(self) -> int:
        """How many folds the groups can be split into: 2 to 5, by the smallest group that has members."""
        sizes = [len({family(prompt) for prompt in group}) for group in self if group]
        return max(2, min(5, *sizes))

    @property
    def digest(self) -> str:
        """SHA-256 of who is in which group, whatever the order within a group."""
        rows = [[name, sorted(_key(p) for p in group)] for name, group in zip(self._fields, self, strict=True)]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr><td>{name.replace('_', ' ')}</td><td>{n}</td></tr>" for name, n in self.counts.items())
        return f"<table><caption>Prompts by harm and behaviour</caption>{rows}</table>"


def family(prompt: Prompt) -> str:
    """What prompts share that must not be split between fitting and testing: their pair, or else their text."""
    return prompt.pair_id or str(prompt.messages)


def from_labels(prompts: Sequence[Prompt], *, harmful: Sequence[bool], refused: Sequence[bool]) -> Groups:
    """Groups from labels that are known already.

    Raises:
        InputError: There are not as many labels as prompts.
    """
    if not len(prompts) == len(harmful) == len(refused):
        raise InputError(
            f"got {len(prompts)} prompts, {len(harmful)} labels of harm and {len(refused)} of refusal; give one each"
        )
    cells: list[list[Prompt]] = [[], [], [], []]
    for prompt, bad, no in zip(prompts, harmful, refused, strict=True):
        cells[(0 if bad else 2) + (0 if no else 1)].append(prompt)
    return Groups(*(tuple(cell) for cell in cells))


def from_behaviour(
    model: LocalModel,
    prompts: Sequence[Prompt],
    *,
    max_tokens: int = 64,
    temperature: float = 0.0,
    seed: int = 0,
    mapping: str = "any",
    batch_size: int = 32,
) -> Groups:
    """Ask the model every prompt and sort the prompts by what it did.

    Prompts whose answer cannot be judged (empty, failed, filtered) are left out.

    Args:
        model: The model whose groups these are.
        prompts: With `expect`: `decline` means harmful, `comply` harmless.
        max_tokens: Of each answer; declining shows at its start.
        temperature: Of the answers; 0 is greedy.
        seed: Of the first prompt's answer; the next ones count up from it.
        mapping: Which kinds count as declined.
        batch_size: Most prompts at once.

    Raises:
        InputError: No prompts, or one that does not say what is expected.
    """
    from demur.models import Sampling
    from demur.responses import Ladder

    if not prompts:
        raise InputError("no prompts were given, so there are no groups to make")
    if silent := next((p.id for p in prompts if p.expect is None), None):
        raise InputError(f"the prompt {silent!r} has no expect; say 'decline' (harmful) or 'comply' (harmless)")
    settings = [
        Sampling(max_tokens=max_tokens, temperature=temperature, seed=seed + number) for number in range(len(prompts))
    ]
    answers = model.generate(prompts, sampling=settings, batch_size=batch_size)
    verdicts = Ladder().judge_many([(p.text, a.response) for p, a in zip(prompts, answers, strict=True)])
    judged = [(p, v.declined(mapping)) for p, v in zip(prompts, verdicts, strict=True)]
    kept = [(p, declined) for p, declined in judged if declined is not None]
    return from_labels(
        [p for p, _ in kept], harmful=[p.expect == "decline" for p, _ in kept], refused=[d for _, d in kept]
    )


def require_groups(groups: Groups, contrast: Contrast) -> None:
    """Refuse groups that a contrast cannot be taken from.

    Raises:
        InputError: A group is too small or holds one prompt again and again, or a prompt stands on both sides.
    """
    if contrast not in ("balanced", "published"):
        raise InputError(f"contrast must be balanced or published, got {contrast!r}")
    needed = Groups._fields if contrast == "balanced" else ("refused_harmful", "accepted_harmless")
    for name in needed:
        group = getattr(groups, name)
        distinct = len({str(p.messages) for p in group})
        if distinct < 2:
            hint = (
                " A model that refuses all that is harmful, and nothing else, has no such prompts: take prompts under "
                "wrappers and harmless ones that sound harmful, or contrast='published'"
                if contrast == "balanced" and name in ("accepted_harmful", "refused_harmless")
                else ""
            )
            raise InputError(
                f"the group {name} holds {len(group)} prompts of {distinct} texts, at least 2 texts are needed.{hint}"
            )
    owners: dict[str, str] = {}
    for name, group in zip(groups._fields, groups, strict=True):
        for prompt in group:
            if (other := owners.setdefault(str(prompt.messages), name)) != name:
                raise InputError(f"the prompt {prompt.id!r} stands in {other} and in {name}; it can be in one only")


def write_groups(groups: Groups, path: Path) -> None:
    """Write groups as JSONL: each line a prompt with its `group`."""
    lines = [
        json.dumps({"group": name, **prompt.model_dump(mode="json", exclude_defaults=True)}, ensure_ascii=False)
        for name, group in zip(groups._fields, groups, strict=True)
        for prompt in group
    ]
    write_text(path, "".join(line + "\n" for line in lines))


def read_groups(path: Path) -> Groups:
    """Read groups from JSONL: the fields of a prompt, or `text`, beside `group`.

    Raises:
        InputError: The file or a line of it cannot be read, or a line names no group.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the groups {str(path)!r} cannot be read: {error}") from error
    cells: dict[str, list[Prompt]] = {name: [] for name in Groups._fields}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            group = row.pop("group")
            if "text" in row:
                prompt = Prompt.from_text(row.pop("text"), **{"id": f"line-{number}", **row})
            else:
                prompt = Prompt.model_validate({"id": f"line-{number}", **row})
            cells[group].append(prompt)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"line {number} of {str(path)!r} is no row of a group ({type(error).__name__}: {error}); it needs "
                f"messages or text, and a group out of: {', '.join(cells)}"
            ) from error
    return Groups(*(tuple(cell) for cell in cells.values()))


def _key(prompt: Prompt) -> str:
    return json.dumps(list(prompt.messages), sort_keys=True, ensure_ascii=False)
