"""Whole workflows over the rooms below."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from demur.studies.auditing import AuditRun as AuditRun
    from demur.studies.auditing import AuditSettings as AuditSettings
    from demur.studies.auditing import audit as audit
    from demur.studies.auditing import resume_audit as resume_audit

_PUBLIC = {
    "AuditRun": "demur.studies.auditing",
    "AuditSettings": "demur.studies.auditing",
    "audit": "demur.studies.auditing",
    "resume_audit": "demur.studies.auditing",
}

__all__ = ["AuditRun", "AuditSettings", "audit", "resume_audit"]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value
