"""An audit that is stopped half-way loses nothing and asks nothing twice. Process and kill are real."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pytest
from loopback import Script, completion, serving

from demur.studies import AuditRun

CONNECTIONS = 4


def echo(number, body):
    """Each answer names its question, so that a line of the journal can be traced to a request."""
    return completion("Of course. Here is what you asked for: " + body["messages"][-1]["content"])


# A shell that runs the tests in the background has told its children to ignore interrupts.
START = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); import demur.__main__"


def command(*arguments):
    return [sys.executable, "-c", START, "audit", *map(str, arguments)]


@pytest.fixture
def start(scripted_env, prompts_file, tmp_path):
    def begin(url, out):
        model = scripted_env(url)
        arguments = command(
            model, "--prompts", prompts_file(), "--out", out, "--max-connections", CONNECTIONS, "--json"
        )
        return subprocess.Popen(
            arguments,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return begin


def resume(out):
    return subprocess.run(command("--resume", "--out", out, "--json"), capture_output=True, text=True, timeout=120)


def wait_for(script, number):
    deadline = time.monotonic() + 60
    while script.requests < number and time.monotonic() < deadline:
        time.sleep(0.005)
    assert script.requests >= number


def questions_in(journal):
    """The questions whose answers were on disk."""
    lines = journal.read_text().splitlines() if journal.exists() else []
    texts = []
    for line in lines:
        try:
            value = json.loads(line)["value"]
        except ValueError:
            continue
        content = value["choices"][0]["message"]["content"]
        text = content if isinstance(content, str) else content[0]["text"]
        texts.append(text.partition(": ")[2])
    return texts


@pytest.mark.parametrize("after", [1, 17, 43, 79])
def test_a_killed_audit_is_finished_and_nothing_that_was_received_is_asked_again(start, tmp_path, after):
    script = Script(echo, delay=0.02)
    out = tmp_path / "run"
    with serving(script) as url:
        process = start(url, out)
        wait_for(script, after)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        time.sleep(0.2)  # what the server was still writing ends now
        kept = questions_in(out / "journal.jsonl")
        asked_before = script.requests
        done = resume(out)
    assert done.returncode == 0, done.stderr
    asked = [body["messages"][-1]["content"] for body in script.bodies]
    assert not set(kept) & set(asked[asked_before:])
    assert len(asked) <= 80 + CONNECTIONS
    samples = AuditRun.open(out).samples
    assert sorted(samples["id"]) == sorted(f"p{index}" for index in range(80))
    assert all(row["prompt"] in row["response"] for row in samples.to_dicts())
    assert json.loads(done.stdout)["status"] == "complete"


def test_an_interrupt_from_the_keyboard_keeps_what_came_and_says_how_to_go_on(start, tmp_path):
    script = Script(echo, delay=0.05)
    out = tmp_path / "run"
    with serving(script) as url:
        process = start(url, out)
        wait_for(script, 20)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 3, said
        assert "--resume" in said
        assert "Traceback" not in said
        kept = len(questions_in(out / "journal.jsonl"))
        assert kept >= 20 - CONNECTIONS
        # what came is measured too, and nothing that was under way is called a failure
        assert "interrupted" in said
        assert AuditRun.open(out).samples["kind"].to_list() == ["comply"] * kept
        asked_before = script.requests
        done = resume(out)
    assert done.returncode == 0, done.stderr
    assert script.requests - asked_before == 80 - kept


def test_a_finished_audit_is_not_run_again(start, tmp_path):
    script = Script(echo)
    with serving(script) as url:
        process = start(url, tmp_path / "run")
        process.communicate(timeout=120)
        assert process.returncode == 0
        assert script.requests == 80
        assert resume(tmp_path / "run").returncode == 0
    assert script.requests == 80


def test_two_processes_cannot_resume_one_run(start, tmp_path):
    script = Script(echo, delay=1.0)
    with serving(script) as url:
        process = start(url, tmp_path / "run")
        wait_for(script, 2)
        second = resume(tmp_path / "run")
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert second.returncode == 2
    assert "another process" in second.stderr


@pytest.mark.skipif(
    not shutil.which("unshare") or os.geteuid() != 0, reason="a file system of one's own needs unshare and root"
)
def test_a_disk_that_fills_up_keeps_what_came(scripted_env, prompts_file, tmp_path):
    """A file system too small for the run, in a mount namespace that ends with the process."""
    out = tmp_path / "disk"
    out.mkdir()
    keep = tmp_path / "kept"
    script = Script(lambda number, body: completion("Of course. " + "Water them well. " * 2000))
    with serving(script) as url:
        model = scripted_env(url)
        audit = shlex.join(command(model, "--prompts", prompts_file(), "--out", out / "run", "--max-connections", 4))
        shell = f"mount -t tmpfs -o size=1m tmpfs {out} && {audit}; code=$?; cp -r {out}/run {keep}; exit $code"
        done = subprocess.run(["unshare", "-m", "sh", "-c", shell], capture_output=True, text=True, timeout=120)
        if "mount:" in done.stderr:
            pytest.skip("this machine does not let tests mount a file system")
        assert done.returncode == 3, done.stderr
        assert "No space left" in done.stderr
        assert "--resume" in done.stderr
        assert "Traceback" not in done.stderr
        kept = len((keep / "journal.jsonl").read_text().splitlines())
        assert 0 < kept < 80
        asked_before = script.requests
        again = resume(keep)
    assert again.returncode == 0, again.stderr
    assert script.requests - asked_before == 80 - kept


def test_the_terminal_shows_names_as_they_are_and_speaks_of_what_was_declined(scripted_env, tmp_path):
    """Categories are the user's text, not markup; and without expectations there is one rate."""
    prompts = tmp_path / "traffic.jsonl"
    rows = [{"id": str(i), "prompt": f"Request {i}", "category": "[/harm] x"} for i in range(30)]
    prompts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with serving(Script(lambda number, body: completion("I'm sorry, but I can't help with that."))) as url:
        model = scripted_env(url)
        arguments = command(model, "--prompts", prompts, "--out", tmp_path / "run")
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "[/harm] x" in done.stderr
    assert "100.0% [88.6%, 100.0%]" in done.stderr
    assert "30 of 30 responses" in done.stderr
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Turns down 100% of the requests" in page


def test_json_is_printed_for_an_incomplete_run_too(scripted_env, prompts_file, tmp_path):
    script = Script(lambda number, body: echo(number, body) if number <= 40 else 500)
    with serving(script) as url:
        model = scripted_env(url)
        arguments = command(model, "--prompts", prompts_file(), "--out", tmp_path / "run", "--max-retries", 0, "--json")
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=120)
    assert done.returncode == 3
    assert "go on with" in done.stderr
    result = json.loads(done.stdout)
    assert (result["status"], result["counts"]["received"]) == ("incomplete", 40)
