"""The command starts without the engines, and turns errors into messages and exit codes."""

import json
import subprocess
import sys

import pytest

import demur

HEAVY = ("torch", "transformers", "inspect_ai", "sklearn", "scipy", "matplotlib", "polars", "openai")


def run(*arguments):
    return subprocess.run([sys.executable, "-m", "demur", *arguments], capture_output=True, text=True, timeout=120)


def loaded_by(code):
    script = f"import sys\n{code}\nprint([name for name in {HEAVY!r} if name in sys.modules])"
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.splitlines()[-1]


def test_importing_demur_loads_no_engine():
    assert loaded_by("import demur") == "[]"


def test_help_loads_no_engine():
    code = "from typer.testing import CliRunner\nfrom demur.cli import app\nCliRunner().invoke(app, ['--help'])"
    assert loaded_by(code) == "[]"


def test_every_public_name_is_there():
    for name in demur.__all__:
        assert getattr(demur, name) is not None
    assert callable(demur.audit)
    assert callable(demur.classify)
    assert callable(demur.load)


def test_an_unknown_attribute_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'refuse_everything'"):
        _ = demur.refuse_everything


@pytest.mark.parametrize("verb", [[], ["audit"], ["classify"], ["phantom"], ["phantom", "card"], ["doctor"]])
def test_every_verb_has_help(verb):
    done = run(*verb, "--help")
    assert done.returncode == 0
    assert "Usage" in done.stdout


def test_the_version_is_the_packages():
    assert run("--version").stdout.strip() == f"demur {demur.__version__}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["audit", "./nowhere"], "does not exist"),
        (["audit", "--resume"], "--out"),
        (["audit", "--resume", "--out", "x", "--limit", "3", "--show-text"], "leave out: limit, show_text"),
        (["audit", "phantom", "--system", "/dev/null"], "is empty"),
        (["audit", "phantom", "-M", "api_key=123"], "environment variable"),
        (["audit", "phantom", "-M", "device"], "KEY=VALUE"),
        (["audit", "phantom", "--mapping", "nonsense"], "there are: any, full"),
        (["audit", "phantom", "--suite", "enormous"], "suite"),
        (["audit", "phantom", "--task", "nonsense"], "there are: refusal_profile"),
        (["audit", "phantom", "--system", "/nowhere/system.txt"], "cannot be read"),
        (["classify", "/nowhere/rows.jsonl"], "nowhere"),
        (["doctor", "./nowhere"], "nowhere"),
    ],
)
def test_usage_errors_end_with_2_one_message_and_no_traceback(arguments, message):
    done = run(*arguments)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_doctor_tells_what_is_installed():
    report = json.loads(run("doctor", "--json").stdout)
    assert report["demur"] == demur.__version__
    assert set(report["extras"]) == {"local", "inspect", "encoder", "train", "serve", "scale", "images", "tables"}
    assert report["extras"]["local"]["packages"]["torch"]
    assert report["inspect_extension"] == "ready"


def test_doctor_looks_into_a_model():
    report = json.loads(run("doctor", "phantom", "--json").stdout)
    assert "model.layers" in json.dumps(report["model"])


def test_doctor_says_how_to_get_what_is_missing():
    report = json.loads(run("doctor", "--json").stdout)
    said = " ".join(run("doctor").stderr.split())
    for name, extra in report["extras"].items():
        assert extra["ready"] or f"pip install 'demur[{name}]'" in said


def test_a_reader_that_goes_away_is_no_failure():
    command = f"{sys.executable} -m demur phantom card --json | head -c 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
