"""What hidden states say about refusal: capture, groups by behaviour, directions, the latent guard.

The names below are imported when they are first used; they bring torch and transformers, and say which extra holds them
when they are missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from demur.lazy import lazily

if TYPE_CHECKING:
    from demur.states.beliefs import Beliefs as Beliefs
    from demur.states.beliefs import category_directions as category_directions
    from demur.states.beliefs import read_beliefs as read_beliefs
    from demur.states.capturing import capture as capture
    from demur.states.cliff import Cliff as Cliff
    from demur.states.cliff import Cliffs as Cliffs
    from demur.states.cliff import measure_cliff as measure_cliff
    from demur.states.cliff import measure_cliffs as measure_cliffs
    from demur.states.depth import DepthRates as DepthRates
    from demur.states.depth import fit_depth_probes as fit_depth_probes
    from demur.states.depth import flag_rates as flag_rates
    from demur.states.depth import score_depths as score_depths
    from demur.states.depth import states_at_depths as states_at_depths
    from demur.states.direction import Direction as Direction
    from demur.states.direction import load_direction as load_direction
    from demur.states.directions import Directions as Directions
    from demur.states.directions import find_directions as find_directions
    from demur.states.groups import Groups as Groups
    from demur.states.groups import from_behaviour as from_behaviour
    from demur.states.groups import from_labels as from_labels
    from demur.states.groups import read_groups as read_groups
    from demur.states.groups import write_groups as write_groups
    from demur.states.head_attribution import HeadScores as HeadScores
    from demur.states.head_attribution import ablate_each as ablate_each
    from demur.states.head_attribution import project_heads as project_heads
    from demur.states.head_sets import HeadSetTest as HeadSetTest
    from demur.states.head_sets import compare_head_set as compare_head_set
    from demur.states.heads import heads_of as heads_of
    from demur.states.heads import scaling_heads as scaling_heads
    from demur.states.interchange import export_gguf as export_gguf
    from demur.states.interchange import load_foreign as load_foreign
    from demur.states.interventions import ablating as ablating
    from demur.states.interventions import sweep as sweep
    from demur.states.inversion import invert as invert
    from demur.states.latent_guard import LatentGuard as LatentGuard
    from demur.states.probe import Probe as Probe
    from demur.states.probes import Probes as Probes
    from demur.states.probes import fit_probes as fit_probes
    from demur.states.refusal_path import RefusalPath as RefusalPath
    from demur.states.refusal_path import mean_path as mean_path
    from demur.states.refusal_path import score_paths as score_paths
    from demur.states.rollouts import closed_reasoning as closed_reasoning
    from demur.states.rollouts import roll_out as roll_out
    from demur.states.selection import select_direction as select_direction
    from demur.states.shards import Captured as Captured
    from demur.states.sites import Site as Site

_PUBLIC = {
    "Beliefs": "beliefs",
    "Captured": "shards",
    "Cliff": "cliff",
    "Cliffs": "cliff",
    "DepthRates": "depth",
    "Direction": "direction",
    "Directions": "directions",
    "Groups": "groups",
    "HeadScores": "head_attribution",
    "HeadSetTest": "head_sets",
    "LatentGuard": "latent_guard",
    "Probe": "probe",
    "Probes": "probes",
    "RefusalPath": "refusal_path",
    "Site": "sites",
    "ablate_each": "head_attribution",
    "ablating": "interventions",
    # not called like its function, which it would hide once it is imported
    "capture": "capturing",
    "category_directions": "beliefs",
    "closed_reasoning": "rollouts",
    "compare_head_set": "head_sets",
    "export_gguf": "interchange",
    "find_directions": "directions",
    "fit_depth_probes": "depth",
    "fit_probes": "probes",
    "flag_rates": "depth",
    "from_behaviour": "groups",
    "from_labels": "groups",
    "heads_of": "heads",
    "invert": "inversion",
    "load_direction": "direction",
    "load_foreign": "interchange",
    "mean_path": "refusal_path",
    "measure_cliff": "cliff",
    "measure_cliffs": "cliff",
    "project_heads": "head_attribution",
    "read_beliefs": "beliefs",
    "read_groups": "groups",
    "roll_out": "rollouts",
    "scaling_heads": "heads",
    "score_depths": "depth",
    "score_paths": "refusal_path",
    "select_direction": "selection",
    "states_at_depths": "depth",
    "sweep": "interventions",
    "write_groups": "groups",
}

# What the extra `local` brings. Any other missing module is a fault of the installation and keeps its own error.
_ENGINES = frozenset({"torch", "transformers", "accelerate", "tokenizers", "huggingface_hub"})

__all__ = [
    "Beliefs",
    "Captured",
    "Cliff",
    "Cliffs",
    "DepthRates",
    "Direction",
    "Directions",
    "Groups",
    "HeadScores",
    "HeadSetTest",
    "LatentGuard",
    "Probe",
    "Probes",
    "RefusalPath",
    "Site",
    "ablate_each",
    "ablating",
    "capture",
    "category_directions",
    "closed_reasoning",
    "compare_head_set",
    "export_gguf",
    "find_directions",
    "fit_depth_probes",
    "fit_probes",
    "flag_rates",
    "from_behaviour",
    "from_labels",
    "heads_of",
    "invert",
    "load_direction",
    "load_foreign",
    "mean_path",
    "measure_cliff",
    "measure_cliffs",
    "project_heads",
    "read_beliefs",
    "read_groups",
    "roll_out",
    "scaling_heads",
    "score_depths",
    "score_paths",
    "select_direction",
    "states_at_depths",
    "sweep",
    "write_groups",
]

__getattr__, __dir__ = lazily(__name__, _PUBLIC, purpose="reading hidden states", extra="local", engines=_ENGINES)
