"""Text as the rules read it, with the way back to the original offsets.

Rules are written once, in lower case with straight quotes and plain stops. Models answer with curly apostrophes,
non-breaking spaces, full-width letters, other scripts' punctuation and invisible joiners. `fold` takes all of these to
one form, character by character, so that every character of the result has one origin (`origins`). Marks that writers
of Arabic, Hebrew and Devanagari set or leave out, and letters that stand for each other there, become one.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from threading import Lock
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

__all__ = ["fold", "fold_many", "fold_with", "origins"]

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
_CURLY = (("\u2019", "'"), ("\u2018", "'"), ("\u201c", '"'), ("\u201d", '"'), ("\u2013", "-"), ("\u2014", "-"))
"""The odd characters of English texts, and what they become."""
# What each character becomes, filled as characters are met. Above all characters stand those that are new, vanish, or
# become several, which are kept by number.
_UNMET, _GONE, _LONGER = 0x110000, 0x110001, 0x110002
_CODES = np.full(0x110000, _UNMET, dtype=np.uint32)
_SEVERAL: list[bytes] = []
_MEETING = Lock()


def fold(text: str) -> str:
    """The normal form: lower case, compatibility-folded, plain quotes and stops, nothing invisible.

    Args:
        text: Any string, lone surrogates included.
    """
    if text.isascii():
        return text.lower()
    for curly, plain in _CURLY:
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


def fold_many(texts: Sequence[str]) -> list[str]:
    """`fold` for texts that are not ASCII: all at once as far as possible, in a quarter of the time."""
    out = [""] * len(texts)
    joined = "".join(texts)
    for curly, plain in _CURLY:  # most texts are ASCII but for these; one for one, so that all keep their places
        joined = joined.replace(curly, plain)
    ends = np.cumsum([len(text) for text in texts]).tolist()
    texts = [joined[end - len(text) : end] for text, end in zip(texts, ends, strict=True)]
    chosen: list[int] = []
    for number, text in enumerate(texts):
        if text.isascii():
            out[number] = text.lower()
            continue
        # more bytes than curly quotes in an English text would need
        if len(text.encode("utf-8", "surrogatepass")) > 24 + len(text) * 17 // 16:
            chosen.append(number)
        else:
            out[number] = fold(text)
    if not chosen:
        return out
    codes = np.frombuffer("".join(texts[n] for n in chosen).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    folded = _CODES.take(codes)
    if (folded == _UNMET).any():
        _meet(codes)
        folded = _CODES.take(codes)
    size = np.fromiter((len(texts[n]) for n in chosen), dtype=np.int64, count=len(chosen))
    end = np.cumsum(size)
    gone, longer = folded == _GONE, np.append(0, np.cumsum(folded >= _LONGER))
    left = np.append(0, np.cumsum(~gone)) if gone.any() else np.arange(len(codes) + 1)
    folded = np.where(folded >= _LONGER, np.uint32(0), folded)[~gone]
    decoded = folded.tobytes().decode("utf-32-le", "surrogatepass")
    for number, low, high, longer_ones in zip(
        chosen, left[end - size].tolist(), left[end].tolist(), longer[end] - longer[end - size], strict=True
    ):
        out[number] = fold(texts[number]) if longer_ones else decoded[low:high]
    return out


def _meet(codes: NDArray[np.uint32]) -> None:
    """Enters what characters become."""
    with _MEETING:
        for code in set(codes[_CODES.take(codes) == _UNMET].tolist()):
            became = fold(chr(code))
            if len(became) > 1:
                _SEVERAL.append(became.encode("utf-8", "replace"))
            _CODES[code] = ord(became) if len(became) == 1 else _LONGER + len(_SEVERAL) - 1 if became else _GONE


def fold_with(kernels: ModuleType, texts: Sequence[str]) -> tuple[NDArray[np.uint8], int, NDArray[np.int64]]:
    """Folds texts with compiled kernels.

    Returns:
        The texts in UTF-8, two line ends behind each, and some bytes of padding; the bytes without padding; and the
        size of each text without its line ends.
    """
    pieces = [text.encode("utf-8", "replace") for text in texts]
    raw = np.frombuffer(b"".join(pieces), dtype=np.uint8)
    sizes = np.fromiter(map(len, pieces), dtype=np.int64, count=len(pieces))
    while True:
        several = list(_SEVERAL)
        at = np.cumsum([0, *map(len, several)])
        pool = np.frombuffer(b"".join(several), dtype=np.uint8)
        padded, size, folded, unmet = kernels.fold_bytes(raw, sizes, _CODES, at, pool)
        if not unmet:
            return padded, size, folded
        _meet(np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), dtype=np.uint32))


def origins(text: str) -> list[int] | None:
    """For each character of `fold(text)` its offset in `text`; None when the offsets are the same."""
    if text.isascii():
        return None
    if all(len(_FOLDED[ord(char)]) == 1 for char in set(_ODD.findall(text))):
        return None
    return [index for index, char in enumerate(text) for _ in _FOLDED[ord(char)]]
