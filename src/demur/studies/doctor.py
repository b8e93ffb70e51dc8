"""The examination behind `demur doctor`: installed packages, programs, the Inspect extension, a model's structure."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import shutil
from typing import Any

import demur
from demur.errors import DemurError

__all__ = ["EXTRAS", "examine", "look_inside"]

EXTRAS: dict[str, str] = {
    "local": "models of transformers on this machine, the phantom among them",
    "inspect": "audits, and every API model that Inspect reaches",
    "encoder": "the accurate response classifier",
    "train": "training recipes (not in this release)",
    "serve": "the server and the gateway (not in this release)",
    "scale": "labelling on a cluster (not in this release)",
    "images": "refusals of image models (not in this release)",
    "tables": "reading spreadsheets (not in this release)",
    "gguf": "control vectors for llama.cpp",
    "speed": "compiled loops: responses are judged twice as fast",
}
"""What each extra adds, in the user's words."""

_PROGRAMS = {
    "chromium": ("pictures of the pages", "Debian: apt-get install chromium"),
}


def examine() -> dict[str, Any]:
    """What is installed and what is missing.

    Returns:
        `demur`, `python`, `platform`, `extras` (by name: `adds`, `ready`, `packages` with versions), `programs`, and
        `inspect_extension` (`ready`, or why it is not).
    """
    return {
        "demur": demur.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "extras": {name: _extra(name, adds) for name, adds in EXTRAS.items()},
        "programs": {
            name: {"adds": adds, "path": shutil.which(name), "get": get} for name, (adds, get) in _PROGRAMS.items()
        },
        "inspect_extension": _extension(),
    }


def _extra(name: str, adds: str) -> dict[str, Any]:
    packages = {package: _version(package) for package in _packages(name)}
    return {"adds": adds, "ready": all(packages.values()), "packages": packages}


def _packages(extra: str) -> list[str]:
    """The packages of an extra, read from our own metadata, so that the two lists cannot differ."""
    try:
        requirements = importlib.metadata.requires("demur") or []
    except importlib.metadata.PackageNotFoundError:
        return []
    wanted = re.compile(rf"extra == ['\"]{re.escape(extra)}['\"]")
    names = [re.match(r"[A-Za-z0-9._-]+", requirement) for requirement in requirements if wanted.search(requirement)]
    return [name.group() for name in names if name is not None]


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _extension() -> str:
    if _version("inspect-ai") is None:
        return "not installed: pip install 'demur[inspect]'"
    from demur.registry import check_extension

    try:
        check_extension()
    except DemurError as error:
        return f"broken: {error}"
    return "ready"


def look_inside(model: str) -> dict[str, str]:
    """What demur finds inside a local model: part by part, in words.

    Raises:
        ModelError: The model cannot be loaded, or its structure is not one that demur can read.
    """
    from demur.phantom import load

    return load(model).describe()
