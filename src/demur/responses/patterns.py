"""Patterns over words, compiled: from their text to a deterministic automaton over classes of words.

`demur.responses.lexicon` says how patterns are written.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from demur.errors import InputError
from demur.responses.normalise import fold

__all__ = ["Draft", "draft"]

_SIGNS = re.compile(r"[()|?*^]|[^\s()|?*^]+")
_LONE = r"[\u0e00-\u0e7f\u3040-\u9fff\uac00-\ud7a3]"
_PARTS = re.compile(rf"{_LONE}|_\d*|(?:(?!{_LONE})[^_])+")
_NO_WORD = re.compile(rf"[^\w'\u0080-\U0010ffff]|(?<!^)(?<!{_LONE})_")
_ANY = frozenset({"_"})
_STATES_AT_MOST = 32_000  # they are numbered in 16 bits


class _Net:
    """A nondeterministic automaton under construction; edges carry sets of words."""

    def __init__(self) -> None:
        self.edges: list[list[tuple[frozenset[str], int]]] = []
        self.silent: list[list[int]] = []

    def node(self) -> int:
        self.edges.append([])
        self.silent.append([])
        return len(self.edges) - 1


class _Parser:
    """Reads one pattern into the net, from a node to a node."""

    def __init__(self, net: _Net, text: str, names: Mapping[str, str]) -> None:
        self.net, self.text, self.names = net, text, names
        self.signs: list[str] = []
        for sign in _SIGNS.findall(text):
            if sign in "()|?*^" or self.is_name(sign):
                self.signs.append(sign)
                continue
            folded = fold(sign)  # as the texts are
            if _NO_WORD.search(folded):
                raise InputError(f"pattern {text!r}: {sign!r} is not one word of the texts; write its parts apart")
            # a lone character is a word of its own, and `_` may stand right behind one
            self.signs += _PARTS.findall(folded)
        self.at = 0

    @staticmethod
    def is_name(sign: str) -> bool:
        """Whether a sign stands for a group."""
        return sign.isupper() and sign.isascii() and any(c.isalpha() for c in sign)

    def peek(self) -> str | None:
        return self.signs[self.at] if self.at < len(self.signs) else None

    def alternatives(self, source: int) -> int:
        target = self.net.node()
        words: set[str] = set()
        while True:
            branch = self.signs[self.at : self.at + 2]
            if len(branch) == 2 and branch[1] in {"|", ")"} and self.is_word(branch[0]):
                words.add(branch[0])  # plain alternatives share one edge
                self.at += 1
            else:
                self.net.silent[self.sequence(source)].append(target)
            if self.peek() != "|":
                break
            self.at += 1
        if words:
            self.net.edges[source].append((frozenset(words), target))
        return target

    def is_word(self, sign: str) -> bool:
        return sign not in {"(", ")", "|", "?", "*", "^"} and not sign.startswith("_") and not self.is_name(sign)

    def sequence(self, source: int) -> int:
        while (sign := self.peek()) is not None and sign not in {"|", ")"}:
            self.at += 1
            begin = self.net.node()
            self.net.silent[source].append(begin)
            end = self.atom(begin, sign)
            suffix = self.peek()
            if suffix in {"?", "*"}:
                self.at += 1
                self.net.silent[begin].append(end)
                if suffix == "*":
                    self.net.silent[end].append(begin)
            source = end
        return source

    def atom(self, source: int, sign: str) -> int:
        net = self.net
        if sign == "(":
            end = self.alternatives(source)
            if self.peek() != ")":
                raise InputError(f"pattern {self.text!r}: a bracket is not closed")
            self.at += 1
            return end
        if sign.startswith("_"):
            end = net.node()
            count = int(sign[1:]) if len(sign) > 1 else 0
            if not count:
                net.edges[source].append((_ANY, end))
                return end
            net.silent[source].append(end)
            for _ in range(count):
                following = net.node()
                net.edges[source].append((_ANY, following))
                net.silent[following].append(end)
                source = following
            return end
        if self.is_name(sign):
            if sign not in self.names:
                raise InputError(f"pattern {self.text!r}: nothing is named {sign}")
            return _Parser(net, self.names[sign], self.names).alternatives(source)
        end = net.node()
        net.edges[source].append((frozenset({sign}), end))
        return end


def _closure(net: _Net, node: int) -> set[int]:
    seen, todo = {node}, [node]
    while todo:
        for following in net.silent[todo.pop()]:
            if following not in seen:
                seen.add(following)
                todo.append(following)
    return seen


class Draft(NamedTuple):
    """An automaton that knows words by their letters."""

    class_of: dict[str, int]
    step: NDArray[np.int16]
    starts: tuple[int, int]
    accepts: list[list[int]]


def draft(patterns: Sequence[tuple[int, str]], names: Mapping[str, str]) -> Draft:
    """Compiles patterns, each with the number of its family.

    Raises:
        InputError: A pattern is malformed, or all of them together need too many states.
    """
    net = _Net()
    roots: tuple[list[int], list[int]] = ([], [])
    accepting: dict[int, int] = {}
    for number, pattern in patterns:
        anchored = pattern.startswith("^")
        root = net.node()
        parser = _Parser(net, pattern.removeprefix("^"), names)
        end = net.node()
        net.silent[parser.alternatives(root)].append(end)
        if parser.peek() is not None:
            raise InputError(f"pattern {pattern!r}: a bracket too many")
        accepting[end] = number
        for group in (roots[1],) if anchored else roots:
            group.append(root)
    class_of, classes_of = _classes(net)
    subsets = _Subsets(net, frozenset(accepting))
    starts = [subsets.number(frozenset(group)) for group in roots]
    rows: list[NDArray[np.int16]] = []
    while len(rows) < len(subsets.order):
        rows.append(_row(net, subsets, subsets.order[len(rows)], classes_of, max(class_of.values(), default=0) + 1))
        if len(subsets.order) > _STATES_AT_MOST:
            raise InputError(f"the patterns need more than {_STATES_AT_MOST} states: use fewer wildcards")
    accepts = [sorted({accepting[node] for node in subset if node in accepting}) for subset in subsets.order]
    return Draft(class_of, np.stack(rows), (starts[0], starts[1]), accepts)


def _classes(net: _Net) -> tuple[dict[str, int], dict[frozenset[str], list[int]]]:
    """Words that occur in the same sets behave alike: they are one class. Classes of words, and of sets of words."""
    sets = {words for edges in net.edges for words, _ in edges if words is not _ANY}
    member: dict[str, list[int]] = defaultdict(list)
    for number, words in enumerate(sorted(sets, key=sorted)):
        for word in words:
            member[word].append(number)
    numbers: dict[tuple[int, ...], int] = {}
    class_of = {word: numbers.setdefault(tuple(in_sets), len(numbers) + 1) for word, in_sets in sorted(member.items())}
    return class_of, {words: sorted({class_of[word] for word in words}) for words in sets}


class _Subsets:
    """Numbers sets of nodes as they are met; the empty one, where nothing goes on, is 0."""

    def __init__(self, net: _Net, accepting: frozenset[int]) -> None:
        self._net = net
        self._useful = [bool(edges) or node in accepting for node, edges in enumerate(net.edges)]
        self._closed: dict[int, frozenset[int]] = {}
        self._known: dict[frozenset[int], int] = {frozenset(): 0}
        self.order: list[frozenset[int]] = [frozenset()]

    def number(self, nodes: frozenset[int]) -> int:
        """The number of the set of nodes that these reach in silence."""
        out: set[int] = set()
        for node in nodes:
            if node not in self._closed:
                self._closed[node] = frozenset(n for n in _closure(self._net, node) if self._useful[n])
            out |= self._closed[node]
        subset = frozenset(out)
        if subset not in self._known:
            self._known[subset] = len(self.order)
            self.order.append(subset)
        return self._known[subset]


def _row(
    net: _Net, subsets: _Subsets, subset: frozenset[int], classes_of: Mapping[frozenset[str], list[int]], width: int
) -> NDArray[np.int16]:
    """Where each class leads from a set of nodes; words that no edge names go where `_` goes."""
    by_class: dict[int, set[int]] = defaultdict(set)
    anywhere: set[int] = set()
    for node in subset:
        for words, following in net.edges[node]:
            if words is _ANY:
                anywhere.add(following)
            else:
                for number in classes_of[words]:
                    by_class[number].add(following)
    row = np.zeros(width, dtype=np.int16)
    if anywhere:
        row[:] = subsets.number(frozenset(anywhere))
    memo: dict[frozenset[int], int] = {}
    for number, targets in by_class.items():
        key = frozenset(targets | anywhere)
        if key not in memo:
            memo[key] = subsets.number(key)
        row[number] = memo[key]
    return row
