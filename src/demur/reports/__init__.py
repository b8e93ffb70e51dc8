"""Pages about a run: one self-contained HTML file that a safety team can hand on.

`render_audit` gives the page as text, `write_audit` puts it on disk in one step. Both are imported when first used, so
that the template engine costs nothing until a page is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from demur.lazy import lazily

if TYPE_CHECKING:
    from demur.reports.audit import render_audit as render_audit
    from demur.reports.audit import write_audit as write_audit
    from demur.reports.summary import summary_sentences as summary_sentences
    from demur.reports.summary import verdict_sentence as verdict_sentence

_PUBLIC = {
    "render_audit": "audit",
    "summary_sentences": "summary",
    "verdict_sentence": "summary",
    "write_audit": "audit",
}

__all__ = ["render_audit", "summary_sentences", "verdict_sentence", "write_audit"]

__getattr__, __dir__ = lazily(__name__, _PUBLIC)
