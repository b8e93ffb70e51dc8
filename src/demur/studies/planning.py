"""What an audit needs before anything is asked or written: its tasks, its model, how many samples there will be."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demur.errors import DemurError, InputError, MissingExtraError, ModelError
from demur.phantom import is_phantom
from demur.studies.correction import check_labels
from demur.studies.settings import AuditSettings

if TYPE_CHECKING:
    from inspect_ai import Task
    from inspect_ai.model import GenerateConfig, Model

    from demur.inspect_ext.journaling import Recorder
    from demur.inspect_ext.judgements import AnyJudge

__all__ = ["Plan", "is_own", "languages", "make_judges", "make_plan", "make_tasks", "prompt_set", "settle"]

# Twice the batch size of the local provider.
_LOCAL_CONNECTIONS = 64


@dataclass(frozen=True)
class Plan:
    """An audit that could begin."""

    settings: AuditSettings
    """Every choice made, by the user or for them."""
    model: Model
    """The model that is audited."""
    tasks: dict[str, Task]
    """What it is asked, by the name of the task."""

    @property
    def samples(self) -> dict[str, int]:
        """How many samples each task has, epochs counted."""
        limit = self.settings.limit
        return {
            name: min(len(task.dataset), limit or len(task.dataset)) * self.settings.epochs
            for name, task in self.tasks.items()
        }

    @property
    def expected(self) -> int:
        """How many samples there are in all."""
        return sum(self.samples.values())


def prompt_set(settings: AuditSettings) -> str | None:
    """The built-in set that is asked, or None when the prompts are the user's own."""
    if settings.prompts is None:
        return "phantom" if is_phantom(settings.model) else "demur-core"
    return settings.prompts if settings.prompts in {"demur-core", "phantom"} else None


def is_own(settings: AuditSettings) -> bool:
    """Whether the prompts are the user's own."""
    return prompt_set(settings) is None


def languages(settings: AuditSettings) -> tuple[str, ...]:
    """The languages of `demur-core` that are asked; none where the prompts are others."""
    if prompt_set(settings) != "demur-core":
        return ()
    from demur.tasks.refusal_profile import SUITES

    return settings.languages or SUITES[settings.suite].languages


def settle(settings: AuditSettings) -> AuditSettings:
    """The settings with what was left open decided: the tasks, and full paths, since resuming may happen elsewhere.

    Raises:
        InputError: A file of prompts does not exist, or prices that a budget in money needs are missing.
    """
    chosen: dict[str, Any] = {}
    if not is_phantom(settings.model) and Path(settings.model).expanduser().exists():
        chosen["model"] = str(Path(settings.model).expanduser().resolve())
    own = is_own(settings)
    if own and settings.prompts is not None:
        chosen["prompts"] = str(Path(settings.prompts).expanduser().resolve())
        if not Path(chosen["prompts"]).exists():
            raise InputError(
                f"the prompts {settings.prompts} do not exist; give a file, or one of the built-in sets demur-core and "
                "phantom"
            )
    if settings.languages and prompt_set(settings) != "demur-core":
        raise InputError("languages choose among the sentences of demur-core; these prompts are not from it")
    for name in ("tools", "rubric", "labels"):
        if (file := getattr(settings, name)) is not None:
            chosen[name] = file.expanduser().resolve()
    tasks = settings.tasks or (
        ("refusal_profile", "limits_profile", "everyday")
        if prompt_set(settings) == "demur-core"
        else ("refusal_profile",)
    )
    tasks = tuple(dict.fromkeys(task.removeprefix("demur/") for task in tasks))
    chosen["tasks"] = (*tasks, "usefulness") if settings.usefulness and "usefulness" not in tasks else tasks
    settled = settings.model_copy(update=chosen)
    if settled.budget.money is not None and (missing := [one for one in _models(settled) if one not in settled.prices]):
        raise InputError(
            f"a budget in money needs prices; there is none for {missing[0]}. Give --price {missing[0]}=INPUT/OUTPUT, "
            "in money for a million tokens"
        )
    return settled


def _models(settings: AuditSettings) -> tuple[str, ...]:
    """Full names of everything that will be asked."""
    from demur.inspect_ext.naming import inspect_name

    return (inspect_name(settings.model), *settings.judges)


def make_plan(settings: AuditSettings) -> Plan:
    """Checks whatever can be checked without asking a model anything.

    Args:
        settings: Settled settings.

    Raises:
        InputError: A task, a file or a model's name cannot be used.
        MissingExtraError: `inspect` or `local` is not installed.
        ModelError: The provider cannot be set up.
    """
    try:
        import inspect_ai  # noqa: F401 - is it there?
    except ImportError as error:
        raise MissingExtraError("demur audit", "inspect", error.name or "inspect_ai") from error
    from demur.inspect_ext.naming import inspect_name
    from demur.registry import check_extension

    check_extension()
    if settings.labels is not None:
        check_labels(settings.labels, mapping=settings.mapping)
    # without a recorder: this one is only for finding out whether it can be made
    tasks = make_tasks(settings, make_judges(settings))
    return Plan(settings, _model(inspect_name(settings.model), settings), tasks)


def make_judges(settings: AuditSettings, recorder: Recorder | None = None) -> AnyJudge | None:
    """The judge or the panel that the settings name, or None.

    Args:
        settings: Settled settings.
        recorder: Keeps the judges' replies with the run's own, and counts them against its budget.

    Raises:
        InputError: A name or the rubric cannot be used.
        ModelError: A provider cannot be set up.
    """
    if not settings.judges:
        return None
    from demur.inspect_ext.panels import make_judge

    return make_judge(
        settings.judges,
        str(settings.rubric or "refusal"),
        journal=recorder,
        prices=settings.prices,
        mapping=settings.mapping,
    )


def make_tasks(settings: AuditSettings, judge: AnyJudge | None) -> dict[str, Task]:
    """The tasks by name.

    Args:
        settings: Settled settings.
        judge: Asked about what the ladder doubts, or about everything if the settings say so.

    Raises:
        InputError: There is no such task, or a file or a judge's name cannot be used.
    """
    from demur.tasks import TASKS

    options: dict[str, Any] = {
        "suite": settings.suite,
        "prompts": prompt_set(settings) or settings.prompts,
        "languages": settings.languages,
        "system": settings.system,
        "tools": str(settings.tools) if settings.tools else None,
        "seed": settings.seed,
        "mapping": settings.mapping,
        "judge": judge,
        "judge_all": settings.judge_all,
    }
    built: dict[str, Task] = {}
    for name in settings.tasks:
        if name not in TASKS:
            raise InputError(f"there is no task {name!r}; there are: {', '.join(sorted(TASKS))}")
        built[name] = getattr(import_module(TASKS[name]), name)(**options)
    return built


def _model(name: str, settings: AuditSettings) -> Model:
    from inspect_ai._util.error import PrerequisiteError
    from inspect_ai.model import get_model

    try:
        # a model of our own: recording changes the object, so it must not be shared with other runs
        model = get_model(name, config=_config(name, settings), memoize=False, **settings.model_args)
    except PrerequisiteError as error:
        raise InputError(_plain(str(error.message))) from error
    except DemurError:
        raise
    except Exception as error:
        raise ModelError(f"the provider of {name} cannot be set up: {error}") from error
    if settings.batch and not _has_batches(model):
        raise InputError(f"{name} has no batch interface that Inspect knows; leave out --batch")
    return model


def _config(name: str, settings: AuditSettings) -> GenerateConfig:
    from inspect_ai.model import GenerateConfig

    local = name.startswith("demur/")
    return GenerateConfig(
        # a seed in every request would pin the sampling of servers that honour it, and be refused by others
        seed=settings.seed if local else None,
        # one batch that runs and one that waits keep a local model busy; Inspect's own default starts lower and climbs
        max_connections=settings.max_connections or (_LOCAL_CONNECTIONS if local else None),
        max_retries=settings.max_retries,
        # a batch may take a day
        attempt_timeout=None if settings.batch else settings.timeout,
        cache=settings.cache or None,
        batch=settings.batch or None,
    )


def _has_batches(model: Model) -> bool:
    """Whether the provider of `model` sends batches: Inspect ignores the wish silently where it does not."""
    # every provider that does keeps its sender in an attribute of this kind
    return any(name.endswith("_batcher") for name in vars(model.api))


def _plain(message: str) -> str:
    """Rich markup of Inspect's messages as plain text."""
    return re.sub(r"\[/?[a-z ]+\]", "", message).removeprefix("ERROR:").strip()
