"""Loads a checkpoint, or says at once why it cannot be loaded and what to do."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from demur.errors import MissingExtraError, ModelError

__all__ = ["load_checkpoint"]

# Seconds to wait for the hub's first answer. A hub that is there answers in one; one that is not should cost no more.
_HUB_PATIENCE = 5.0


def load_checkpoint(
    name: str | Path,
    *,
    device: str | torch.device | None,
    dtype: str | torch.dtype | None,
    revision: str | None,
    trust_remote_code: bool,
    options: dict[str, Any],
) -> tuple[Any, Any, str | None]:
    """Model, tokenizer and revision of a checkpoint; see `LocalModel.load`."""
    folder = _folder(str(name))
    common: dict[str, Any] = {"trust_remote_code": trust_remote_code}
    if folder is None:
        common |= {"revision": revision, "local_files_only": not _hub_has(str(name), revision)}
    source = str(folder or name)
    spread = options.get("device_map") is not None
    place = None if spread else torch.device(device) if device is not None else _best_device()
    try:
        from transformers import AutoModelForCausalLM, AutoTokenizer
    except ImportError as error:
        raise MissingExtraError("a local model", extra="local", missing=error.name or str(error)) from error
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, **common)
        model: Any = AutoModelForCausalLM.from_pretrained(source, dtype=dtype or "auto", **common, **options)
    except ImportError as error:
        raise MissingExtraError(f"the model {str(name)!r}", extra="local", missing=error.name or str(error)) from error
    except Exception as error:  # a broken checkpoint fails anywhere in three libraries; the cause is chained
        raise ModelError(
            f"{str(name)!r} could not be loaded as a causal language model: {_first_line(error)}"
        ) from error
    if place is not None and not getattr(model, "hf_quantizer", None):
        if dtype is None and place.type == "cpu" and model.dtype == torch.float16:
            model = model.float()  # processors compute half precision slowly and round more than they need
        model = model.to(place)
    return (
        model.eval(),
        tokenizer,
        getattr(model.config, "_commit_hash", None) or (revision if folder is None else None),
    )


def _folder(name: str) -> Path | None:
    """The checkpoint's folder, or None when `name` is a hub id.

    Raises:
        ModelError: A path that does not exist, or a folder that holds no checkpoint.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            inside = ", ".join(sorted(child.name for child in path.iterdir())[:8]) or "nothing"
            raise ModelError(
                f"the folder {name!r} is no checkpoint: it has no config.json (it holds: {inside}). Give the folder "
                "that save_pretrained wrote"
            )
        return path
    if path.exists():
        raise ModelError(
            f"{name!r} is a file; give the folder of a transformers checkpoint or a hub id such as ORG/NAME"
        )
    looks_like_path = name.startswith((".", "~", os.sep)) or name.count("/") > 1 or (os.sep != "/" and os.sep in name)
    if looks_like_path:
        raise ModelError(
            f"there is no folder {name!r}; give the folder of a transformers checkpoint or a hub id ORG/NAME"
        )
    return None


def _hub_has(name: str, revision: str | None) -> bool:
    """Whether the hub answered and has `name`; False when only the local cache is left to use.

    One request without retries: transformers itself would try again for half a minute.

    Raises:
        ModelError: The hub says no, or does not answer and the cache does not have it.
    """
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        cached = isinstance(try_to_load_from_cache(name, "config.json", revision=revision), str)
    except HFValidationError as error:
        raise ModelError(f"{name!r} is neither a folder nor a hub id such as ORG/NAME: {_first_line(error)}") from error
    unreachable = "the hub is switched off by HF_HUB_OFFLINE"
    if not constants.HF_HUB_OFFLINE:
        try:
            get_hf_file_metadata(hf_hub_url(name, "config.json", revision=revision), timeout=_HUB_PATIENCE)
            return True
        except GatedRepoError as error:
            raise ModelError(
                f"{name!r} is gated: accept its terms on its hub page and log in with `hf auth login`, or set HF_TOKEN"
            ) from error
        except RevisionNotFoundError as error:
            raise ModelError(f"{name!r} has no revision {revision!r} on the hub") from error
        except RepositoryNotFoundError as error:
            raise ModelError(
                f"there is no folder {name!r} and no such public model on the hub. Check the spelling; for a private "
                "model log in with `hf auth login` or set HF_TOKEN"
            ) from error
        except HfHubHTTPError as error:
            if error.response is not None and error.response.status_code == 404:
                raise ModelError(
                    f"{name!r} is on the hub but has no config.json, so it is no transformers model"
                ) from error
            unreachable = f"the hub answered with an error ({_first_line(error)})"
        except Exception as error:  # noqa: BLE001 - the transport's own classes change with the version of the hub's client
            unreachable = f"the hub did not answer ({type(error).__name__}: {_first_line(error)})"
    if cached:
        return False
    raise ModelError(
        f"there is no folder {name!r} here, {unreachable}, and its files are not in the local cache. Give the path of "
        "a downloaded checkpoint, or connect and try again"
    )


def _best_device() -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def _first_line(error: BaseException) -> str:
    text = ""
    with suppress(IndexError):
        text = str(error).strip().splitlines()[0]
    return text or type(error).__name__
