"""The command starts without the engines, and turns errors into messages and exit codes."""

import importlib
import io
import json
import os
import subprocess
import sys

import pytest
from rich.console import Console

import demur
from demur.errors import InputError
from demur.studies.settings import read_system as read_system_prompt

# the package's attribute of this name is the verb
audit = importlib.import_module("demur.cli.audit")


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
        (["audit", "--resume", "--out", "x", "--limit", "3", "--show-text"], "leave out: --limit, --show-text"),
        (["audit", "phantom", "--resume", "--out", "x", "-M", "device=cpu"], "leave out: model, --model-arg"),
        (["audit", "phantom", "--system", "/dev/null"], "is empty"),
        (["audit", "phantom", "-M", "api_key=123"], "environment variable"),
        (["audit", "phantom", "-M", "device"], "KEY=VALUE"),
        (["audit", "phantom", "--mapping", "nonsense"], "there are: any, full"),
        (["audit", "phantom", "--suite", "enormous"], "suite"),
        (["audit", "phantom", "--task", "nonsense"], "there are: everyday, limits_profile, refusal_profile"),
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
    assert set(report["extras"]) == {
        "local",
        "inspect",
        "encoder",
        "train",
        "serve",
        "scale",
        "images",
        "tables",
        "gguf",
        "speed",
    }
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


@pytest.mark.parametrize("arguments", [["phantom", "card", "--json"], ["doctor", "--json"], ["--help"], ["--version"]])
def test_a_reader_that_goes_away_is_no_failure(arguments):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as nobody:
        done = subprocess.run(
            [sys.executable, "-m", "demur", *arguments], stdout=nobody, stderr=subprocess.PIPE, text=True, timeout=120
        )
    assert (done.returncode, done.stderr) == (0, "")


def ends_with(error):
    """The command when what it does raises `error`."""
    script = (
        "import sys, typer\nimport demur.studies.doctor as doctor\nfrom demur.cli import main\n"
        f"def broken():\n    raise {error}\n"
        "doctor.examine = broken\nsys.argv = ['demur', 'doctor']\nmain()"
    )
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)


def test_what_nobody_foresaw_does_not_end_like_a_failed_gate():
    done = ends_with("ZeroDivisionError('what was it')")
    assert done.returncode == 70
    assert "Traceback" in done.stderr
    assert "what was it" in done.stderr


@pytest.mark.parametrize("error", ["KeyboardInterrupt", "typer.Abort"])
def test_an_interruption_is_incomplete_work(error):
    done = ends_with(error)
    assert (done.returncode, done.stderr.strip(), done.stdout) == (3, "demur: interrupted", "")


def test_codes_that_a_verb_asks_for_are_kept():
    assert ends_with("typer.Exit(4)").returncode == 4
    assert ends_with("SystemExit(5)").returncode == 5
    assert run("audit", "--nonsense").returncode == 2


def test_the_system_prompt_is_read_without_its_byte_order_mark(tmp_path):
    file = tmp_path / "system.txt"
    file.write_bytes("\ufeffBe brief, Zoë.".encode())
    assert read_system_prompt(file) == "Be brief, Zoë."
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read"):
        read_system_prompt(file)


def test_user_text_reaches_the_table_as_it_is(tmp_path):
    """Square brackets are rich's markup, and a category may hold any."""
    prompts = tmp_path / "own.jsonl"
    rows = [{"prompt": f"How do I bake cake {i}?", "category": ("[/harm] x", "a\x1b[31mb")[i % 2]} for i in range(60)]
    prompts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = run("audit", "phantom", "--prompts", str(prompts), "--out", str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    assert "[/harm] x" in done.stderr
    assert "declined" in done.stderr
    assert "\x1b" not in done.stderr
    assert f"{tmp_path}/run/report.html" in done.stderr
    assert "60 of 60 responses" in done.stderr


def test_an_unfinished_audit_still_prints_its_measures(tmp_path):
    """The error that the study raises carries the directory; what it holds goes to stdout, the message to stderr."""
    made = tmp_path / "run"
    assert run("audit", "phantom", "--limit", "4", "--out", str(made)).returncode == 0
    script = (
        "import pathlib, sys\nimport demur.studies.auditing as auditing\nfrom demur.cli import main\n"
        "from demur.errors import IncompleteError\n"
        "def stop(*_, **__):\n    raise IncompleteError('the disk is full', path=pathlib.Path(sys.argv[-1]))\n"
        f"auditing.audit = stop\nsys.argv = ['demur', 'audit', '--json', '--out', {str(made)!r}]\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr.strip()) == (3, "demur: the disk is full")
    told = json.loads(done.stdout)
    assert told["status"] == "incomplete"
    assert told["measures"]


def test_progress_without_a_terminal_is_a_line_at_most_every_half_minute():
    console = Console(file=io.StringIO(), force_terminal=False)
    now = 0.0
    with audit._Bar(console, clock=lambda: now) as bar:
        for done in range(1, 101):
            now = float(done)
            bar(done, 200, False)
    assert console.file.getvalue().splitlines() == [
        "30 of 200 responses 1.0/s, 170 s left",
        "60 of 200 responses 1.0/s, 140 s left",
        "90 of 200 responses 1.0/s, 110 s left",
    ]
