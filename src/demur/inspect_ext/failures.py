"""What went wrong with a request, read from the errors and replies of any provider's client."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inspect_ai.model import ModelCall

__all__ = ["describe_failure", "is_connection_failure", "is_cut_short", "is_garbled", "status_of"]

# Characters of a server's message that are kept.
_LONGEST = 200


def status_of(error: BaseException) -> int | None:
    """The HTTP status behind an error of any provider's client, or None."""
    for cause in _chain(error):
        for owner in (cause, getattr(cause, "response", None)):
            status = getattr(owner, "status_code", None)
            if isinstance(status, int):
                return status
    return None


def is_connection_failure(error: BaseException) -> bool:
    """Whether no connection could be made at all (a wrong address, nothing listening, no such host)."""
    # by name, because each provider's client has its own class and none of them need be installed here
    return any(
        isinstance(cause, ConnectionRefusedError)
        or type(cause).__name__ in {"ConnectError", "ConnectionRefusedError", "gaierror"}
        for cause in _chain(error)
    )


def is_garbled(error: BaseException) -> bool:
    """Whether the reply was no JSON or an empty stream: damaged on its way, which another attempt may mend."""
    return any(
        isinstance(cause, json.JSONDecodeError) or type(cause).__name__ == "NoStreamDataError"
        for cause in _chain(error)
    )


def is_cut_short(call: ModelCall) -> bool:
    """Whether a stream in OpenAI's manner ended before the reply did.

    Its last piece says why the model stopped. When the connection ends without it, what came before looks like a
    whole reply that is merely shorter, and nothing else tells the two apart.
    """
    choices = (call.response or {}).get("choices")
    return (
        isinstance(call.request, dict)
        and call.request.get("stream") is True
        and isinstance(choices, list)
        and any(isinstance(choice, dict) and choice.get("finish_reason", "") is None for choice in choices)
    )


def describe_failure(error: BaseException) -> str:
    """One line about an error: its status or class, and the innermost message."""
    status = status_of(error)
    head = f"HTTP {status}" if status is not None else type(error).__name__
    message = str(error).strip().splitlines()
    inner = str(_chain(error)[-1]).strip().splitlines()
    detail = (message or inner or [""])[0][:_LONGEST]
    if status is None and inner and inner[0] != detail:
        detail = f"{detail}: {inner[0][:_LONGEST]}" if detail else inner[0][:_LONGEST]
    return f"{head}: {detail}" if detail else head


def _chain(error: BaseException) -> list[BaseException]:
    """The error and its causes, outermost first."""
    found: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in found:
        found.append(current)
        # what an error was raised `from None` over is nobody's business
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return found
