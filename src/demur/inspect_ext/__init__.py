"""What Inspect tasks are made of: the provider `demur/...`, scorers, and the recording of responses.

The names below are imported when they are first used, because each of them brings inspect_ai.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from demur.lazy import lazily

if TYPE_CHECKING:
    from demur.inspect_ext.active import active_sample as active_sample
    from demur.inspect_ext.journaling import Recorder as Recorder
    from demur.inspect_ext.journaling import record as record
    from demur.inspect_ext.judgements import Judged as Judged
    from demur.inspect_ext.judging import ModelJudge as ModelJudge
    from demur.inspect_ext.naming import inspect_name as inspect_name
    from demur.inspect_ext.outputs import response_of as response_of
    from demur.inspect_ext.panels import Panel as Panel
    from demur.inspect_ext.panels import make_judge as make_judge
    from demur.inspect_ext.provider import LocalModelAPI as LocalModelAPI
    from demur.inspect_ext.sync_judging import SyncJudge as SyncJudge
    from demur.inspect_ext.verdicts import by_category as by_category
    from demur.inspect_ext.verdicts import refusal_rates as refusal_rates
    from demur.inspect_ext.verdicts import verdict as verdict

_PUBLIC = {
    "Judged": "judgements",
    "ModelJudge": "judging",
    "Panel": "panels",
    "SyncJudge": "sync_judging",
    "make_judge": "panels",
    "LocalModelAPI": "provider",
    "Recorder": "journaling",
    "active_sample": "active",
    "by_category": "verdicts",
    "inspect_name": "naming",
    "record": "journaling",
    "refusal_rates": "verdicts",
    "response_of": "outputs",
    "verdict": "verdicts",
}

__all__ = [
    "Judged",
    "LocalModelAPI",
    "ModelJudge",
    "Panel",
    "Recorder",
    "SyncJudge",
    "active_sample",
    "by_category",
    "inspect_name",
    "make_judge",
    "record",
    "refusal_rates",
    "response_of",
    "verdict",
]

__getattr__, __dir__ = lazily(
    __name__, _PUBLIC, purpose="running evaluations", extra="inspect", engines=("inspect_ai",)
)
