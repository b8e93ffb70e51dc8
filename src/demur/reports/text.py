"""Text from models and users, made safe to show: what is invisible becomes visible, what is endless is cut.

Escaping of markup is the template's work. This module handles what escaping leaves alone: control characters that
HTML forbids, characters that reorder or hide text, and size.
"""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["LIMIT", "Shown", "cut", "visible"]

LIMIT = 4_000
"""Characters of one prompt, response or reasoning that a page shows; about two printed pages."""

# Bidirectional controls, invisible separators, tag characters (used to smuggle instructions), and noncharacters.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff0-\ufffb\ufffe\uffff"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


class Shown(NamedTuple):
    """A text as a page shows it."""

    text: str
    """The text, safe to display once it is escaped."""
    left_out: int
    """Characters that were cut off at the end."""


def visible(text: str) -> str:
    """`text` with line ends unified and every character that hides, reorders or breaks text replaced by its name."""
    return _HIDDEN.sub(_name, text.replace("\r\n", "\n"))


def _name(match: re.Match[str]) -> str:
    # Unicode has pictures for some of these, but few fonts do
    return f"⟨U+{ord(match[0]):04X}⟩"


def cut(text: str, limit: int = LIMIT) -> Shown:
    """The first `limit` characters of `text`, made visible, and how many were left out."""
    return Shown(visible(text[:limit]), max(0, len(text) - limit))
