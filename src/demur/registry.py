"""What Inspect's entry point loads: importing this module registers provider, scorers and tasks.

Inspect turns a failure to import an extension into a warning and then reports that the task does not exist. So a
failure here is written to standard error, with its cause and its remedy, before it is raised.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.metadata import entry_points
from typing import NamedTuple

from demur.errors import DemurError, MissingExtraError, ModelError

__all__ = ["REGISTERED", "Registered", "check_extension"]


class Registered(NamedTuple):
    """One thing that this package gives to Inspect."""

    kind: str
    """Inspect's word for it: `modelapi`, `scorer`, `metric` or `task`."""
    name: str
    """Its full name in Inspect's registry."""
    module: str
    """The module that defines it."""


REGISTERED = (
    Registered("modelapi", "demur/demur", "demur.inspect_ext.provider"),
    Registered("metric", "demur/refusal_rates", "demur.inspect_ext.verdicts"),
    Registered("metric", "demur/by_category", "demur.inspect_ext.verdicts"),
    Registered("scorer", "demur/verdict", "demur.inspect_ext.verdicts"),
    Registered("scorer", "demur/answered", "demur.tasks.usefulness"),
    Registered("task", "demur/refusal_profile", "demur.tasks.refusal_profile"),
    Registered("task", "demur/limits_profile", "demur.tasks.refusal_profile"),
    Registered("task", "demur/everyday", "demur.tasks.refusal_profile"),
    Registered("task", "demur/usefulness", "demur.tasks.usefulness"),
)
"""Everything that importing this module registers."""

_EXTRAS = {
    "inspect_ai": "inspect",
    "openai": "inspect",
    "torch": "local",
    "transformers": "local",
    "accelerate": "local",
}


def _register() -> None:
    for module in dict.fromkeys(one.module for one in REGISTERED):
        try:
            import_module(module)
        except DemurError:
            raise
        except ImportError as error:
            missing = (error.name or "").partition(".")[0]
            if missing in _EXTRAS:
                raise MissingExtraError("the Inspect extension", extra=_EXTRAS[missing], missing=missing) from error
            raise ModelError(
                f"the Inspect extension of demur cannot be loaded: importing {module} failed with: {error}. "
                "Repair the installation with: pip install --force-reinstall 'demur[inspect,local]'"
            ) from error


def check_extension() -> None:
    """Makes sure that Inspect finds this package and that everything it should give is really there.

    Raises:
        ModelError: The entry point is missing, does not load, or does not register what it should; the message names
            the cause and what to do.
        MissingExtraError: A package of an extra is missing.
    """
    from inspect_ai._util.registry import registry_find, registry_info, registry_lookup

    entries = [entry for entry in entry_points(group="inspect_ai") if entry.name == "demur"]
    if not entries:
        raise ModelError(
            "Inspect cannot find demur: this Python has no entry point 'demur' in the group 'inspect_ai'. A source "
            "tree on the path is not enough; install it with: pip install -e ."
        )
    for entry in entries:
        try:
            entry.load()
        except DemurError:
            raise
        except Exception as error:
            raise ModelError(f"the Inspect extension {entry.value} does not load: {error}") from error
    absent = [one for one in REGISTERED if registry_lookup(one.kind, one.name) is None]  # type: ignore[arg-type]
    if absent:
        names = ", ".join(f"{one.kind} {one.name}" for one in absent)
        raise ModelError(
            f"the Inspect extension of demur loaded but did not register: {names}. Two versions may be installed; "
            "check with: pip list | grep demur"
        )
    rivals = registry_find(
        lambda info: info.type == "modelapi" and info.name.partition("/")[2] == "demur" and info.name != "demur/demur"
    )
    if rivals:
        # Inspect takes whichever was registered first
        raise ModelError(
            f"another package registers a model provider called demur ({registry_info(rivals[0]).name}), and model "
            "names cannot tell the two apart. Uninstall it"
        )


try:
    _register()
except Exception as error:
    sys.stderr.write(f"\ndemur: {error}\n\n")
    raise
