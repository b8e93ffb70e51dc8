"""Local models: structure, positions, hooks and operators, generation, the Control protocol.

The names below are imported when they are first used. `Chat` and `Sampling` are plain records; everything else brings
torch and transformers, and says which extra holds them when they are missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from demur.lazy import lazily

if TYPE_CHECKING:
    from demur.models.control import Batch as Batch
    from demur.models.control import Control as Control
    from demur.models.control import Fork as Fork
    from demur.models.control import Row as Row
    from demur.models.control import Step as Step
    from demur.models.generation import Generation as Generation
    from demur.models.hooks import Site as Site
    from demur.models.hooks import reading as reading
    from demur.models.hooks import writing as writing
    from demur.models.local import LocalModel as LocalModel
    from demur.models.logit_bias import LogitBias as LogitBias
    from demur.models.positions import Positions as Positions
    from demur.models.request import Chat as Chat
    from demur.models.request import Sampling as Sampling
    from demur.models.request import as_chat as as_chat
    from demur.models.steering import Steering as Steering
    from demur.models.structure import Structure as Structure
    from demur.models.structure import discover as discover

_PUBLIC = {
    "Batch": "control",
    "Chat": "request",
    "Control": "control",
    "Fork": "control",
    "Generation": "generation",
    "LocalModel": "local",
    "LogitBias": "logit_bias",
    "Positions": "positions",
    "Row": "control",
    "Sampling": "request",
    "Site": "hooks",
    "Steering": "steering",
    "Step": "control",
    "Structure": "structure",
    "as_chat": "request",
    "discover": "structure",
    "reading": "hooks",
    "writing": "hooks",
}

# What the extra `local` brings. Any other missing module is a fault of the installation and keeps its own error.
_ENGINES = frozenset({"torch", "transformers", "accelerate", "tokenizers", "huggingface_hub"})

__all__ = [
    "Batch",
    "Chat",
    "Control",
    "Fork",
    "Generation",
    "LocalModel",
    "LogitBias",
    "Positions",
    "Row",
    "Sampling",
    "Site",
    "Steering",
    "Step",
    "Structure",
    "as_chat",
    "discover",
    "reading",
    "writing",
]

__getattr__, __dir__ = lazily(__name__, _PUBLIC, purpose="running a local model", extra="local", engines=_ENGINES)
