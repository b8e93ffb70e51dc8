"""Tools that a model is offered during an audit: what it calls is recorded, nothing is carried out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from inspect_ai.tool import ToolDef, ToolParams
from pydantic import ValidationError

from demur.errors import InputError

__all__ = ["read_tools"]


def read_tools(path: str | Path) -> list[ToolDef]:
    """The tools in a JSON file: a list of functions as OpenAI-compatible servers take them.

    Each is `{"name", "description", "parameters"}`, alone or inside `{"type": "function", "function": ...}`.

    Raises:
        InputError: The file cannot be read, or an entry is no such function.
    """
    try:
        entries = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"the tools {path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise InputError(f"the tools {path} are not JSON: {error}") from error
    if not isinstance(entries, list) or not entries:
        raise InputError(f"the tools {path} must be a list with at least one function, as chat servers take them")
    tools = [_tool(entry, f"{path}, tool {place}") for place, entry in enumerate(entries, start=1)]
    names = [tool.name for tool in tools]
    if doubled := {name for name in names if names.count(name) > 1}:
        raise InputError(f"the tools {path} hold {sorted(doubled)[0]!r} twice; give each a name of its own")
    return tools


def _tool(entry: Any, where: str) -> ToolDef:
    function = entry.get("function", entry) if isinstance(entry, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise InputError(f"{where}: expected an object with name, description and parameters")
    # models are told nothing more than this, so an empty description would be our doing
    if not isinstance(function.get("description"), str) or not function["description"].strip():
        raise InputError(f"{where}: {function['name']!r} needs a description that tells the model what it is for")
    try:
        parameters = ToolParams.model_validate(function.get("parameters") or {})
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(str(part) for part in fault["loc"])
        raise InputError(f"{where}: parameters.{place}: {fault['msg']}") from error
    # Inspect sends no tool without them, and would say so only when the first sample fails
    for name, parameter in parameters.properties.items():
        if not parameter.description:
            raise InputError(f"{where}: the parameter {name!r} of {function['name']!r} needs a description")

    async def execute(**arguments: Any) -> str:
        raise RuntimeError("tools of an audit are never carried out")

    return ToolDef(execute, name=function["name"], description=function["description"], parameters=parameters)
