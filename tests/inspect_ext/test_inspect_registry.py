"""What Inspect finds of this package, and what a user reads when it finds nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from demur.errors import ModelError
from demur.registry import REGISTERED, check_extension

pytestmark = pytest.mark.usefixtures("counting_offline")


def shadow(folder: Path, module: str) -> dict[str, str]:
    """An environment in which `module` cannot be imported, as if it were not installed."""
    (folder / "sitecustomize.py").write_text(
        "import importlib.abc, sys\n"
        "class Missing(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {module!r} or name.startswith({module + '.'!r}):\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Missing())\n"
    )
    source = Path(__file__).resolve().parents[2] / "src"
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(folder), str(source)]),
        "INSPECT_LOG_DIR": str(folder / "logs"),
    }


def python(code: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False, timeout=300
    )


def test_everything_is_registered():
    check_extension()


def test_something_that_is_not_registered_is_named(monkeypatch: pytest.MonkeyPatch):
    extra = REGISTERED[-1]._replace(name="demur/no_such_task")
    monkeypatch.setattr("demur.registry.REGISTERED", (*REGISTERED, extra))
    with pytest.raises(ModelError, match="did not register: task demur/no_such_task"):
        check_extension()


def test_a_missing_entry_point_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("demur.registry.entry_points", lambda group: ())
    with pytest.raises(ModelError, match=r"no entry point 'demur'.*pip install -e"):
        check_extension()


def test_without_inspect_the_extra_is_named(tmp_path: Path):
    done = python("import demur.registry", shadow(tmp_path, "inspect_ai"))
    assert done.returncode != 0
    assert "MissingExtraError" in done.stderr
    assert "pip install 'demur[inspect]'" in done.stderr


def test_inspect_eval_shows_why_the_extension_does_not_load(tmp_path: Path):
    command = [sys.executable, "-m", "inspect_ai", "eval", "demur/refusal_profile", "--model", "mockllm/model"]
    environment = shadow(tmp_path, "demur.responses.ladder")
    done = subprocess.run(
        [*command, "--display", "plain"], env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode != 0
    assert "demur: the Inspect extension of demur cannot be loaded" in done.stderr
    assert "demur.responses.ladder" in done.stderr
    assert "pip install" in done.stderr


@pytest.mark.parametrize("module", ["demur.inspect_ext", "demur.tasks"])
def test_the_rooms_open_without_inspect(module: str):
    code = (
        f"import sys, {module}\n"
        "heavy = {'inspect_ai', 'torch', 'transformers'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = python(code, {**os.environ})
    assert done.returncode == 0, done.stderr
