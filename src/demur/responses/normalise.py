"""Text as the rules read it, with the way back to the original offsets.

Rules are written once, in lower case with straight quotes and plain stops. Models answer with curly apostrophes,
non-breaking spaces, full-width letters, other scripts' punctuation and invisible joiners. `fold` takes all of these to
one form, character by character, so that every character of the result has one origin (`origins`). Marks that writers
of Arabic, Hebrew and Devanagari set or leave out, and letters that stand for each other there, become one.
"""

from __future__ import annotations

import re
import unicodedata

__all__ = ["CURLY", "fold", "origins"]

# Zero-width space, joiners, word joiner, byte order mark and soft hyphen: invisible, and enough to hide a phrase.
_INVISIBLE = "\u200b\u200c\u200d\u2060\ufeff\u00ad"
# Vowel signs, tatweel and nukta: the same word is written with and without them.
_OPTIONAL = "".join(
    map(chr, [*range(0x0591, 0x05C8), *range(0x0610, 0x061B), *range(0x064B, 0x0660), 0x0640, 0x0670, 0x093C])
)
# Punctuation that compatibility folding leaves alone or expands: every script's stop is a stop, every quote a quote.
_PLAIN = {
    **dict.fromkeys("\u2019\u2018\u02bc\u2032\u00b4`", "'"),
    **dict.fromkeys("\u201c\u201d\u201e\u00ab\u00bb\u300c\u300d\u300e\u300f\u2033", '"'),
    **dict.fromkeys("\u3002\u0964\u06d4\u2026\uff61\u0589", "."),
    **dict.fromkeys("\u3001\u060c\u061b\uff64", ","),
    **dict.fromkeys("\u061f\u037e", "?"),
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),
    **dict.fromkeys("\u2022\u25cf\u25aa\u00b7\u30fb", "*"),
    **dict.fromkeys("\u00bf\u00a1\u300a\u300b\u3010\u3011\u2028\u2029", " "),
    **dict.fromkeys("\u0622\u0623\u0625\u0671", "\u0627"),  # alif with whatever it carries
    **dict.fromkeys("\u0649\u06cc", "\u064a"),  # dotless and Persian yeh
    "\u06a9": "\u0643",  # Persian kaf
    "\u0629": "\u0647",  # teh marbuta is often typed as heh
    "\u0901": "\u0902",  # candrabindu is often typed as anusvara
}
_DROPPED = frozenset(_INVISIBLE + _OPTIONAL)
del _PLAIN["`"]  # ASCII texts take a shorter way, and a backtick has to mean the same on both


class _Folded(dict[int, str]):
    """Character by character, filled as characters are met."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        if char in _PLAIN:
            folded = _PLAIN[char]
        else:
            parts = unicodedata.normalize("NFKC", char).lower()
            folded = "".join(_PLAIN.get(part, part) for part in parts if part not in _DROPPED)
        if len(self) < 200_000:  # all of Unicode would be a million entries
            self[code] = folded
        return folded


_FOLDED = _Folded()
_ODD = re.compile(r"[^\x00-\x7f]")
_FEW = 8
CURLY = (("\u2019", "'"), ("\u2018", "'"), ("\u201c", '"'), ("\u201d", '"'), ("\u2013", "-"), ("\u2014", "-"))
"""The odd characters of English texts, and what they become."""


def fold(text: str) -> str:
    """The normal form: lower case, compatibility-folded, plain quotes and stops, nothing invisible.

    Args:
        text: Any string, lone surrogates included.
    """
    if text.isascii():
        return text.lower()
    for curly, plain in CURLY:
        if curly in text:
            text = text.replace(curly, plain)
    if text.isascii():  # most texts are: curly quotes were all they had
        return text.lower()
    odd = set(_ODD.findall(text))
    if len(odd) > _FEW:
        return text.translate(_FOLDED)
    for char in odd:  # an emoji or two: replacing them one by one is four times as fast
        folded = _FOLDED[ord(char)]
        if folded != char:
            text = text.replace(char, folded)
    return text.lower()


def origins(text: str) -> list[int] | None:
    """For each character of `fold(text)` its offset in `text`; None when the offsets are the same."""
    if text.isascii():
        return None
    if all(len(_FOLDED[ord(char)]) == 1 for char in set(text)):
        return None
    return [index for index, char in enumerate(text) for _ in _FOLDED[ord(char)]]
