"""The settings of an audit, and the TOML file that holds them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from demur.errors import InputError
from demur.inspect_ext.budget import Budget, Price
from demur.records import MAPPINGS
from demur.reports.settings import is_secret

__all__ = ["AuditSettings", "Suite", "as_toml", "check_settings", "read_config"]

Suite = Literal["quick", "core", "full"]


class AuditSettings(BaseModel):
    """What an audit asks, of whom, and how. The run directory stores it, and resuming reads it back."""

    model_config = ConfigDict(extra="forbid")

    model: str = "phantom"
    """`phantom`, a path, a hub id, or an Inspect model string."""
    suite: Suite = "quick"
    """Which share of the built-in prompts."""
    tasks: tuple[str, ...] = ()
    """Tasks of demur, by name; none means those that fit the prompts."""
    prompts: str | None = None
    """A file of the user's own prompts, or the name of a built-in set; None is the built-in set that fits the model."""
    languages: tuple[str, ...] = ()
    """Languages of the built-in prompts (`en`, `de`, ...); none means the suite's."""
    system: str | None = None
    """A system prompt for every conversation."""
    tools: Path | None = None
    """A JSON file of tools that the model is offered; its calls are recorded and never carried out."""
    usefulness: bool = False
    """Whether a small set of harmless tasks with known answers is asked as well."""
    limit: int | None = Field(default=None, ge=1)
    """At most so many samples a task."""
    epochs: int = Field(default=1, ge=1)
    """How often each prompt is asked."""
    temperature: float | None = Field(default=None, ge=0.0)
    """Sampling temperature; None leaves it to the model's own default."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Longest answer in tokens; None is the task's default."""
    seed: int = 0
    """Reaches the choice of prompts, local sampling, and the bootstrap."""
    mapping: str = "any"
    """Which kinds of response count as declined."""
    judges: tuple[str, ...] = ()
    """Models that judge what the offline ladder is unsure of; several are a panel that decides by majority."""
    judge_all: bool = False
    """Whether judges read every response, and not only those in the ladder's band of doubt."""
    rubric: Path | None = None
    """A TOML file with the judges' rubric, in place of the built-in one."""
    labels: Path | None = None
    """Responses labelled by people; the verdicts' measured errors give corrected rates beside the raw ones."""
    max_connections: int | None = Field(default=None, ge=1)
    """Requests under way at once; None is the provider's default."""
    max_retries: int = Field(default=5, ge=0)
    """Retries of one request after a failure that may pass (429, 5xx, time-outs)."""
    timeout: int = Field(default=300, ge=1)
    """Seconds that one attempt of a request may take."""
    cache: bool = False
    """Whether Inspect's cache of earlier replies may answer, and is filled."""
    batch: bool = False
    """Whether requests go through the provider's batch interface: cheaper, and hours instead of minutes."""
    budget: Budget = Budget()
    """The most that the run may spend."""
    prices: dict[str, Price] = Field(default_factory=dict)
    """What models charge, by their full name; needed for a budget in money and for forecasts of cost."""
    model_args: dict[str, Any] = Field(default_factory=dict)
    """Handed to the provider (`device`, `dtype`, `stream`, ...)."""
    show_text: bool = False
    """Whether the page shows what is masked by default."""

    @field_validator("prompts", mode="before")
    @classmethod
    def _path_or_name(cls, given: Any) -> Any:
        return str(given) if isinstance(given, Path) else given

    @field_validator("mapping")
    @classmethod
    def _known_mapping(cls, name: str) -> str:
        if name not in MAPPINGS:
            raise ValueError(f"there is no mapping {name!r}; there are: {', '.join(MAPPINGS)}")
        return name

    @model_validator(mode="after")
    def _consistent(self) -> AuditSettings:
        if (self.judge_all or self.rubric) and not self.judges:
            raise ValueError("judge_all and rubric need a judge; name its model with --judge")
        if secret := [name for name in self.model_args if is_secret(name)]:
            raise ValueError(
                f"the model argument {secret[0]} would be written to the run directory in clear; set the provider's "
                "environment variable instead (OPENAI_API_KEY, or SERVICE_API_KEY for openai-api/SERVICE/NAME)"
            )
        return self


def check_settings(given: Mapping[str, Any]) -> AuditSettings:
    """The settings that `given` makes.

    Raises:
        InputError: A name or a value cannot be used.
    """
    try:
        return AuditSettings.model_validate(given)
    except ValidationError as error:
        problems = []
        for problem in error.errors():
            place = ".".join(str(part) for part in problem["loc"])
            said = problem["msg"].removeprefix("Value error, ")
            if problem["type"] == "extra_forbidden":
                said = f"there is no such setting; there are: {', '.join(AuditSettings.model_fields)}"
            problems.append(f"{place}: {said}" if place else said)
        raise InputError(f"settings that cannot be used: {'; '.join(problems)}") from None


# Settings that name a file; in a configuration file they are relative to it, as everywhere.
_FILES = ("tools", "rubric", "labels")


def read_config(path: Path) -> dict[str, Any]:
    """The settings in a TOML file; names of files in it are relative to the file.

    `system_file` may name a file with the system prompt in the place of `system`.

    Raises:
        InputError: The file cannot be read or is no TOML.
    """
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the configuration {path} cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"the configuration {path} is not TOML: {error}") from error
    here = path.resolve().parent
    for name in _FILES:
        if isinstance(found.get(name), str):
            found[name] = str(here / Path(found[name]).expanduser())
    if isinstance(found.get("prompts"), str) and (here / found["prompts"]).is_file():
        found["prompts"] = str(here / found["prompts"])
    if "system_file" in found:
        if "system" in found:
            raise InputError(f"{path} has both system and system_file; keep one of them")
        found["system"] = read_system(here / str(found.pop("system_file")))
    return found


def read_system(path: Path) -> str:
    """The system prompt in a file.

    Raises:
        InputError: The file cannot be read, or is empty.
    """
    try:
        # some editors begin a file with a byte-order mark, which no model should be told
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the system prompt {path} cannot be read: {error}") from error
    if not text.strip():
        raise InputError(f"the system prompt {path} is empty; leave it out to ask without one")
    return text


def as_toml(settings: AuditSettings) -> str:
    """The settings as a TOML file that repeats the run: what has its default is left out."""
    import tomli_w

    # TOML has no null; what is unset has its default anyway
    content = settings.model_dump(mode="json", exclude_defaults=True, exclude_none=True)
    return tomli_w.dumps({"model": settings.model, **content}, multiline_strings=True)
