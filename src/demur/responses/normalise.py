"""Text as the rules read it, with the way back to the original offsets.

Rules are written once, in lower case with straight quotes and plain spaces. Models answer with curly apostrophes,
non-breaking spaces, full-width letters and invisible joiners. `normalise` folds all of these and remembers, when a
character was dropped or became several, where each one came from.
"""

from __future__ import annotations

import unicodedata
from typing import NamedTuple

__all__ = ["Normalised", "normalise"]

_QUOTES = (
    ("\u2019", "'"),
    ("\u2018", "'"),
    ("\u201c", '"'),
    ("\u201d", '"'),
    ("\u02bc", "'"),
    ("\uff07", "'"),
    ("\u00a0", " "),
    ("\u2011", "-"),
)
# Zero-width space, joiners, word joiner, byte order mark and soft hyphen: invisible, and enough to hide a phrase.
_INVISIBLE = frozenset("\u200b\u200c\u200d\u2060\ufeff\u00ad")


class Normalised(NamedTuple):
    """A text in its normal form."""

    text: str
    """Lower case, compatibility-composed, straight quotes, no invisible characters."""
    origin: tuple[int, ...] | None
    """For each character its offset in the original; None when the offsets are the same."""

    def original(self, offset: int) -> int:
        """The offset in the original text of the character at `offset`."""
        return offset if self.origin is None else self.origin[offset]


def normalise(text: str) -> Normalised:
    """Fold case, quotes, widths and invisible characters; keep the way back.

    Args:
        text: Any string, lone surrogates included.

    Returns:
        The normal form. Offsets are unchanged (and free) whenever no character was dropped or expanded.
    """
    if text.isascii():
        return Normalised(text.lower(), None)
    for curly, straight in _QUOTES:
        if curly in text:
            text = text.replace(curly, straight)
    if text.isascii():  # most texts are: curly quotes were all they had
        return Normalised(text.lower(), None)
    pieces: list[str] = []
    origin: list[int] = []
    same = True
    for index, char in enumerate(text):
        if char < "\x80":
            pieces.append(char.lower())
            origin.append(index)
            continue
        if char in _INVISIBLE:
            same = False
            continue
        # character by character, so that every offset has one source; composed input stays composed
        folded = unicodedata.normalize("NFKC", char).lower()
        if len(folded) != 1:
            same = False
        pieces.append(folded)
        origin.extend([index] * len(folded))
    return Normalised("".join(pieces), None if same else tuple(origin))
