"""The note beside the output of `demur classify` that says how far a run is."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from demur.atomic import write_text
from demur.errors import InputError, RunError
from demur.rows import Sink
from demur.studies.classified import Classified
from demur.studies.classify_intake import Mark

__all__ = ["Notes", "Stand"]


class Stand(NamedTuple):
    """How far a run got."""

    tally: Classified
    mark: Mark
    out: dict[str, Any] | None
    """Position in the output; None at the beginning."""
    rejected: dict[str, Any] | None
    """Position in the rejected rows."""


class Notes:
    """Writes and reads the note of one run.

    Args:
        out: The output; nothing is noted of a run that writes to standard output.
        settings: What must be the same for a run to be resumed.
    """

    def __init__(self, out: str | None, settings: dict[str, Any]) -> None:
        self._out, self._settings = out, settings
        self._text: str | None = None
        self._saved, self._cost = 0.0, 0.0

    @property
    def path(self) -> Path:
        """The file."""
        return Path(f"{self._out}.progress.json")

    def note(self, count: Classified, mark: Mark, results: Sink, rejects: Sink | None) -> None:
        """Notes what is written so far; it is saved now and then, so that saving takes a twentieth of the time."""
        if self._out is None:
            return
        self._text = json.dumps(
            {
                "settings": self._settings,
                "counts": count.as_json(),
                "mark": mark,
                "out": results.position(),
                "rejected": rejects.position() if rejects else None,
            }
        )
        if time.monotonic() - self._saved >= 20 * self._cost:
            self.save()

    def save(self) -> None:
        """Saves the last note, unless it is saved."""
        if self._text is not None:
            begun = time.monotonic()
            write_text(self.path, self._text)
            self._text = None
            self._saved = time.monotonic()
            self._cost = self._saved - begun

    def leave(self) -> None:
        """Saves the last note if there is room for it; an older one will do."""
        with suppress(OSError):
            self.save()

    def remove(self) -> None:
        """The finished output speaks for itself; the note would only litter."""
        self._text = None
        self.path.unlink(missing_ok=True)

    def earlier(self, *, resume: bool, force: bool, mapping: str) -> Stand:
        """Where to begin: where an earlier run stopped, or at the beginning.

        Raises:
            InputError: The output exists and neither `resume` nor `force` is given, there is nothing to resume, or the
                settings differ.
            RunError: The note is damaged.
        """
        beginning = Stand(Classified(mapping), Mark(), None, None)
        if self._out is None:
            if resume:
                raise InputError("--resume needs -o FILE: standard output cannot be taken up again")
            return beginning
        if resume and self.path.exists():
            return self._read()
        out = Path(self._out)
        noted = self.path.exists()
        if (noted or (out.exists() and not out.is_char_device() and out.stat().st_size > 0)) and not force:
            if noted:
                raise InputError(
                    f"{out} is the output of a run that did not finish; add --resume to finish it or --force to "
                    "start over"
                )
            if resume:
                raise InputError(f"nothing to resume: {out} is complete; use --force to write it again")
            raise InputError(f"{out} exists; name another output, or use --force to replace it")
        self.remove()
        return beginning

    def _read(self) -> Stand:
        try:
            kept: dict[str, Any] = json.loads(self.path.read_text("utf-8"))
            before: dict[str, Any] = kept["settings"]
            changed = [name for name, value in self._settings.items() if before.get(name) != value]
            if not changed:
                mark = Mark.from_json(kept["mark"])
                return Stand(Classified.from_json(kept["counts"]), mark, kept["out"], kept["rejected"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RunError(
                f"cannot resume: {self.path} is damaged or from another version of demur ({error!r}); start over with "
                "--force"
            ) from error
        raise InputError(
            f"cannot resume: {', '.join(changed)} differ from the run that wrote {self._out}; "
            "use the same command or --force"
        )
