"""The run directory: its files, how they are named, and what can be read back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from demur.atomic import write_text
from demur.errors import RunError
from demur.records import Measure
from demur.runs.journal import Journal
from demur.runs.samples import read_samples, write_samples

if TYPE_CHECKING:
    import polars

__all__ = ["SCHEMA_VERSION", "RunDirectory", "RunInfo"]

SCHEMA_VERSION = 1
"""Version of the layout below. A reader refuses what is newer and knows what is older."""


class RunInfo(BaseModel):
    """What `run.json` holds: everything needed to understand a run, and to go on with it."""

    model_config = ConfigDict(extra="allow")

    schema_version: int = SCHEMA_VERSION
    """Version of the directory's layout."""
    demur_version: str
    """The version of demur that wrote the run."""
    model: str
    """The model as Inspect names it, e.g. `demur/phantom`."""
    model_args: dict[str, Any] = Field(default_factory=dict)
    """What was handed to the provider."""
    suite: str | None = None
    """`quick`, `core` or `full`, when a suite was run."""
    prompt_set: str | None = None
    """The built-in set that was asked; None where the prompts were the user's own."""
    tasks: list[str]
    """The tasks, as Inspect names them."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Seed, epochs, temperature, limits, mapping, system prompt, and the like."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Python, platform, and the libraries that a result depends on."""
    created: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    """When the run began, in UTC."""
    finished: str | None = None
    """When it ended, in UTC."""
    status: Literal["started", "incomplete", "complete"] = "started"
    """`started` while it runs or after a kill, `incomplete` after a failure that resuming can mend."""
    counts: dict[str, int] = Field(default_factory=dict)
    """`expected`, `samples`, `errors`, `requests` made now, `replayed` from the journal, `tokens_in`, `tokens_out`."""
    cost: float | None = None
    """What the replies cost by the prices that were given, earlier ones of a resumed run included."""
    judging: dict[str, Any] | None = None
    """What judges were asked, how often they failed or changed the ladder's kind, their agreement, and their cost."""
    timings: dict[str, float] = Field(default_factory=dict)
    """Wall time in seconds, by part."""
    prompts_sha256: str | None = None
    """Digest of the user's file of prompts, so that resuming notices when it has changed."""
    note: str | None = None
    """What every reader of the results must know."""


class RunDirectory:
    """One run on disk.

    Args:
        path: The directory. Use `create` for a new run and `open` for one that exists.
        info: What `run.json` holds.
    """

    def __init__(self, path: Path, info: RunInfo) -> None:
        self.path = path
        self.info = info

    @classmethod
    def create(cls, path: Path, info: RunInfo) -> RunDirectory:
        """Makes the directory and writes `run.json`.

        Raises:
            RunError: The directory already holds something, or cannot be made.
        """
        try:
            if path.exists() and (not path.is_dir() or any(path.iterdir())):
                raise RunError(
                    f"{path} already exists and is not empty. Choose another --out, or finish the run in it with: "
                    f"demur audit --resume --out {path}"
                )
            path.mkdir(parents=True, exist_ok=True)
            run = cls(path, info)
            run.save()
        except OSError as error:
            raise RunError(f"cannot write to {path}: {error.strerror or error}") from error
        return run

    @classmethod
    def open(cls, path: Path) -> RunDirectory:
        """Opens a run that exists.

        Raises:
            RunError: There is no run at `path`, it is damaged, or a newer demur wrote it.
        """
        file = path / "run.json"
        if not file.exists():
            raise RunError(f"{path} is not a run directory: it has no run.json")
        raw = _read_json(file)
        version = raw.get("schema_version") if isinstance(raw, dict) else None
        if not isinstance(version, int):
            raise RunError(f"{file} does not say its schema_version; it is not a run of demur")
        if version > SCHEMA_VERSION:
            raise RunError(
                f"{file} has schema version {version}, this demur reads up to {SCHEMA_VERSION}: upgrade demur"
            )
        try:
            return cls(path, RunInfo.model_validate(raw))
        except ValidationError as error:
            raise RunError(f"{file} is damaged: {error}") from error

    def save(self) -> None:
        """Writes `run.json` in one step."""
        write_text(self.path / "run.json", self.info.model_dump_json(indent=2) + "\n")

    @property
    def logs(self) -> Path:
        """Where Inspect's logs of the finished evaluation lie."""
        return self.path / "logs"

    @property
    def report(self) -> Path:
        """The page."""
        return self.path / "report.html"

    @property
    def samples_file(self) -> Path:
        """The table of samples."""
        return self.path / "samples.parquet"

    def journal(self) -> Journal:
        """Opens the run's journal for writing; a second holder is refused."""
        return Journal(self.path / "journal.jsonl")

    def write_measures(self, measures: Iterable[Measure]) -> None:
        """Writes `measures.json` in one step."""
        content = {
            "schema_version": SCHEMA_VERSION,
            "measures": [measure.model_dump(mode="json") for measure in measures],
        }
        write_text(self.path / "measures.json", json.dumps(content, indent=1, ensure_ascii=False) + "\n")

    def read_measures(self) -> list[Measure]:
        """Reads `measures.json`.

        Raises:
            RunError: It is missing, damaged, or newer than this demur.
        """
        file = self.path / "measures.json"
        if not file.exists():
            raise RunError(
                f"{self.path} has no measures yet; finish the run with: demur audit --resume --out {self.path}"
            )
        raw = _read_json(file)
        try:
            if raw["schema_version"] > SCHEMA_VERSION:
                raise RunError(f"{file} was written by a newer demur: upgrade demur to read it")
            return [Measure.model_validate(measure) for measure in raw["measures"]]
        except (ValidationError, KeyError, TypeError) as error:
            raise RunError(f"{file} is damaged: {error}") from error

    def write_samples(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Writes `samples.parquet` in one step."""
        write_samples(self.samples_file, rows)

    def read_samples(self) -> polars.DataFrame:
        """Reads `samples.parquet`: one row a response."""
        return read_samples(self.samples_file)


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise RunError(f"{file} cannot be read: {error}") from error
