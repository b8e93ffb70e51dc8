"""What hidden states say about refusal: capture, groups by behaviour, directions, the latent guard.

The names below are imported when they are first used; they bring torch and transformers, and say which extra holds them
when they are missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from demur.lazy import lazily

if TYPE_CHECKING:
    from demur.states.artefact import export_gguf as export_gguf
    from demur.states.artefact import load_direction as load_direction
    from demur.states.artefact import load_foreign as load_foreign
    from demur.states.beliefs import Beliefs as Beliefs
    from demur.states.beliefs import category_directions as category_directions
    from demur.states.beliefs import read_beliefs as read_beliefs
    from demur.states.capturing import capture as capture
    from demur.states.directions import Direction as Direction
    from demur.states.directions import Directions as Directions
    from demur.states.directions import find_directions as find_directions
    from demur.states.groups import Groups as Groups
    from demur.states.groups import from_behaviour as from_behaviour
    from demur.states.groups import from_labels as from_labels
    from demur.states.groups import read_groups as read_groups
    from demur.states.groups import write_groups as write_groups
    from demur.states.interventions import ablating as ablating
    from demur.states.interventions import sweep as sweep
    from demur.states.inversion import invert as invert
    from demur.states.latent_guard import LatentGuard as LatentGuard
    from demur.states.selection import select_direction as select_direction
    from demur.states.shards import Captured as Captured
    from demur.states.sites import Site as Site

_PUBLIC = {
    "Beliefs": "beliefs",
    "Captured": "shards",
    "Direction": "directions",
    "Directions": "directions",
    "Groups": "groups",
    "LatentGuard": "latent_guard",
    "Site": "sites",
    "ablating": "interventions",
    # not called like its function, which it would hide once it is imported
    "capture": "capturing",
    "category_directions": "beliefs",
    "export_gguf": "artefact",
    "find_directions": "directions",
    "from_behaviour": "groups",
    "from_labels": "groups",
    "invert": "inversion",
    "load_direction": "artefact",
    "load_foreign": "artefact",
    "read_beliefs": "beliefs",
    "read_groups": "groups",
    "select_direction": "selection",
    "sweep": "interventions",
    "write_groups": "groups",
}

# What the extra `local` brings. Any other missing module is a fault of the installation and keeps its own error.
_ENGINES = frozenset({"torch", "transformers", "accelerate", "tokenizers", "huggingface_hub"})

__all__ = [
    "Beliefs",
    "Captured",
    "Direction",
    "Directions",
    "Groups",
    "LatentGuard",
    "Site",
    "ablating",
    "capture",
    "category_directions",
    "export_gguf",
    "find_directions",
    "from_behaviour",
    "from_labels",
    "invert",
    "load_direction",
    "load_foreign",
    "read_beliefs",
    "read_groups",
    "select_direction",
    "sweep",
    "write_groups",
]

__getattr__, __dir__ = lazily(__name__, _PUBLIC, purpose="reading hidden states", extra="local", engines=_ENGINES)
