"""From what people type for a model to the name that Inspect knows it by."""

from __future__ import annotations

from pathlib import Path

from demur.errors import InputError
from demur.phantom import is_phantom

__all__ = ["inspect_name", "providers"]


def providers() -> set[str]:
    """The names of all model providers that Inspect knows, ours included."""
    import inspect_ai.model._providers.providers  # noqa: F401 - registers Inspect's own
    from inspect_ai._util.registry import registry_find, registry_info

    found = registry_find(lambda info: info.type == "modelapi")
    return {registry_info(provider).name.split("/", 1)[-1] for provider in found}


def inspect_name(model: str) -> str:
    """The Inspect model string for `model`.

    `phantom`, a path that exists, and a hub id become `demur/...`; a string that starts with the name of an Inspect
    provider stays as it is. (So `google/NAME` is Google's API; the hub's organisation is `demur/google/NAME`.)

    Raises:
        InputError: The string is none of these.
    """
    if is_phantom(model):
        return f"demur/{model}"
    path = Path(model).expanduser()
    if path.exists():
        return f"demur/{path.resolve()}"
    if model.startswith((".", "/", "~")):
        raise InputError(f"there is no model at {model}: the path does not exist")
    prefix, slash, rest = model.partition("/")
    if prefix in providers() and rest:
        return model
    if slash and rest and "/" not in rest:
        return f"demur/{model}"
    raise InputError(
        f"{model!r} is not a model. Give one of: phantom; the path of a transformers checkpoint; a hub id ORG/NAME; or "
        "an Inspect model string such as openai/NAME, anthropic/NAME, vllm/NAME, openai-api/SERVICE/NAME"
    )
