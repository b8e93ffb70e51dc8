"""Where the trained editions are, and how names become checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from demur.errors import ModelError

if TYPE_CHECKING:
    from demur.models import LocalModel
    from demur.phantom.specification import Specification

__all__ = ["is_phantom", "load", "names", "path", "resolve", "specification"]

_EDITIONS = Path(__file__).parent / "editions"


def names() -> list[str]:
    """The editions that are installed."""
    return sorted(folder.name for folder in _EDITIONS.iterdir() if (folder / "config.json").exists())


def path(edition: str = "base") -> Path:
    """The checkpoint directory of an edition, readable by transformers.

    Raises:
        ModelError: There is no such edition.
    """
    if edition not in names():
        raise ModelError(
            f"the phantom has no edition {edition!r}; installed: {', '.join(names()) or 'none'}. "
            "`demur phantom train` makes one"
        )
    return _EDITIONS / edition


def specification(name: str) -> Specification:
    """What is planted in the phantom of this name: `phantom`, or `phantom:EDITION`.

    Raises:
        InputError: There is no such variant.
    """
    from demur.phantom import variants
    from demur.phantom.specification import default

    edition = _edition(name)
    return default() if edition == "base" else variants.specification(edition)


def _edition(name: str) -> str:
    return name.partition(":")[2] or "base"


def is_phantom(name: str) -> bool:
    """Whether `name` means the phantom: `phantom` or `phantom:EDITION`."""
    return name == "phantom" or name.startswith("phantom:")


def resolve(name: str) -> str | Path:
    """The checkpoint directory that a phantom's name means; any other name as it is.

    Raises:
        ModelError: The name asks for an edition that is not installed.
    """
    return path(_edition(name)) if is_phantom(name) else name


def load(name: str = "phantom", **options: Any) -> LocalModel:
    """Load a local model: the phantom by its name, anything else as `demur.models.LocalModel.load` does.

    Args:
        name: `phantom`, `phantom:EDITION`, a local path, or a hub id.
        options: Passed on (`device`, `dtype`, `revision`, ...). The phantom is loaded in float32 unless told otherwise,
            because its card was measured so.

    Raises:
        ModelError: The edition is not installed, or the model cannot be loaded.
    """
    from demur.models import LocalModel

    if is_phantom(name) and options.get("dtype") is None:
        options["dtype"] = "float32"
    return LocalModel.load(resolve(name), **options)
