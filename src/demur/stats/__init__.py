"""Intervals, paired tests, agreement, calibration: thin, over scipy and scikit-learn.

Every function takes plain sequences or arrays, says what is wrong with them in an `InputError`, and gives a number
together with its interval and its n. Nothing here loads scipy or scikit-learn before it is needed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from demur.stats.agreement import cohen_kappa as cohen_kappa
    from demur.stats.agreement import krippendorff_alpha as krippendorff_alpha
    from demur.stats.agreement import percent_agreement as percent_agreement
    from demur.stats.bootstrap import cluster_bootstrap as cluster_bootstrap
    from demur.stats.calibration import Bin as Bin
    from demur.stats.calibration import ece as ece
    from demur.stats.calibration import reliability as reliability
    from demur.stats.detection import balanced_accuracy as balanced_accuracy
    from demur.stats.detection import compare_balanced_accuracy as compare_balanced_accuracy
    from demur.stats.detection import sensitivity as sensitivity
    from demur.stats.detection import specificity as specificity
    from demur.stats.intervals import Interval as Interval
    from demur.stats.intervals import clopper_pearson as clopper_pearson
    from demur.stats.intervals import wilson as wilson
    from demur.stats.judging import JudgeQuality as JudgeQuality
    from demur.stats.judging import corrected_profile as corrected_profile
    from demur.stats.judging import judge_quality as judge_quality
    from demur.stats.measures import corrected as corrected
    from demur.stats.measures import rate as rate
    from demur.stats.multiplicity import holm as holm
    from demur.stats.paired import PairedTest as PairedTest
    from demur.stats.paired import mcnemar as mcnemar
    from demur.stats.paired import paired_permutation as paired_permutation
    from demur.stats.prevalence import rogan_gladen as rogan_gladen
    from demur.stats.proportions import ProportionTest as ProportionTest
    from demur.stats.proportions import two_proportions as two_proportions
    from demur.stats.ranking import auroc as auroc
    from demur.stats.ranking import average_precision as average_precision

_PUBLIC = {
    "Bin": "calibration",
    "Interval": "intervals",
    "JudgeQuality": "judging",
    "PairedTest": "paired",
    "ProportionTest": "proportions",
    "auroc": "ranking",
    "average_precision": "ranking",
    "balanced_accuracy": "detection",
    "clopper_pearson": "intervals",
    "cluster_bootstrap": "bootstrap",
    "cohen_kappa": "agreement",
    "compare_balanced_accuracy": "detection",
    "corrected": "measures",
    "corrected_profile": "judging",
    "ece": "calibration",
    "holm": "multiplicity",
    "judge_quality": "judging",
    "krippendorff_alpha": "agreement",
    "mcnemar": "paired",
    "paired_permutation": "paired",
    "percent_agreement": "agreement",
    "rate": "measures",
    "reliability": "calibration",
    "rogan_gladen": "prevalence",
    "sensitivity": "detection",
    "specificity": "detection",
    "two_proportions": "proportions",
    "wilson": "intervals",
}

__all__ = sorted(_PUBLIC)  # noqa: PLE0605 - a list that ruff cannot see through


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'demur.stats' has no attribute {name!r}")
    value = getattr(import_module(f"demur.stats.{_PUBLIC[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
