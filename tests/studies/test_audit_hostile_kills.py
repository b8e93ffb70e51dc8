"""An audit that is killed again and again: no response that was kept is asked for twice, and few are lost.

A response is *kept* once its line is in the journal, which is the first thing that happens to it after the client's
process has read it whole. That much is promised, and tested without exception. A response that the server has written
can still be in the kernel's buffers, or read and not yet in the journal, when the process dies; it is lost with the
process and asked for again. A connection carries one response at a time, so a kill loses at most one for each
connection; that bound is tested as well.
"""

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest
from hostile_model import Behaviour, write_prompts
from hostile_server import TRANSPORT, Faults, HostileServer, serving_hostile

from demur.studies import AuditRun

CONNECTIONS = 8
EPOCHS = 2


def kept(run):
    """The names of the responses in the journal: which prompt, and the how-manieth request for it."""
    journal = run / "journal.jsonl"
    if not journal.exists():
        return []
    names = []
    for line in journal.read_bytes().split(b"\n"):
        try:
            names.append(json.loads(line)["value"]["response_id"])
        except ValueError:
            continue  # the torn end of a line, or nothing after the last
    return names


def prompt_of(name):
    return name.rpartition("/")[0]


def kill_again_and_again(server, url, tmp_path, model, *, kills, each, seed):
    """Runs the command, kills it at drawn moments, and lets it end at last; checks each stretch.

    Returns how many responses the server had written before each kill that were lost with the process.
    """
    draw = random.Random(seed)
    prompts = write_prompts(tmp_path / "prompts.jsonl", each)
    total = len(prompts) * EPOCHS
    run = tmp_path / "run"
    begin = [model, "--prompts", tmp_path / "prompts.jsonl", "--epochs", EPOCHS, "--max-connections", CONNECTIONS]
    moments = sorted(draw.sample(range(1, total), kills))
    lost = []
    for moment in [*moments, None]:
        before, asked_before = kept(run), len(server.log)
        arguments = begin if not run.exists() else ["--resume"]
        process = subprocess.Popen(
            [sys.executable, "-m", "demur", "audit", *map(str, arguments), "--out", str(run)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        killed = float("inf")
        if moment is not None:
            arrived = server.wait_for(moment, lambda process=process: process.poll() is None)
            time.sleep(draw.uniform(0, 0.06))
            killed = time.monotonic()
            process.send_signal(signal.SIGKILL)
        _, said = process.communicate(timeout=300)
        assert moment is None or arrived, said.decode()
        assert process.returncode == (0 if moment is None else -signal.SIGKILL), said.decode()
        server.settle()
        # nothing that was kept before this stretch was asked for in it
        had = Counter(map(prompt_of, before))
        asked = Counter(request.prompt for request in server.log[asked_before:] if request.fault not in TRANSPORT)
        assert all(had[prompt] + count <= EPOCHS for prompt, count in asked.items())
        now = kept(run)
        assert now[: len(before)] == before
        written = {f"{r.prompt}/{r.attempt}": r.written for r in server.log[asked_before:] if r.written}
        fresh = set(now[len(before) :])
        assert fresh <= set(written)
        assert len(set(written) - fresh) <= CONNECTIONS
        lost.append(sum(at < killed for name, at in written.items() if name not in fresh))
    assert lost[-1] == 0
    names = kept(run)
    assert len(set(names)) == len(names) == total
    done = AuditRun.open(run)
    assert done.info.status == "complete"
    assert Counter(done.samples["prompt"]) == dict.fromkeys(prompts.values(), EPOCHS)
    # every row is a response that was kept, and every kept response is a row
    said = Counter((prompt_of(n), server.behaviour.reply(prompt_of(n), int(n.rpartition("/")[2])).text) for n in names)
    assert Counter(zip(done.samples["prompt"], done.samples["response"], strict=True)) == said
    return lost


def test_kills_lose_nothing_that_was_kept(scripted_env, tmp_path):
    server = HostileServer(Behaviour(harmful=0.7, harmless=0.3), latency=0.03)
    with serving_hostile(server) as url:
        kill_again_and_again(server, url, tmp_path, scripted_env(url), kills=2, each=4, seed=0)
    assert len(server.log) <= 128 + 2 * CONNECTIONS


@pytest.mark.slow
@pytest.mark.parametrize("latency", [0.0, 0.1])
def test_twenty_kills_at_random_moments(scripted_env, tmp_path, latency):
    server = HostileServer(Behaviour(harmful=0.7, harmless=0.3), latency=latency)
    with serving_hostile(server) as url:
        lost = kill_again_and_again(server, url, tmp_path, scripted_env(url), kills=20, each=12, seed=1)
    figures = {
        "latency": latency,
        "samples": 384,
        "requests": len(server.log),
        "written before a kill and lost with it": lost,
    }
    print(json.dumps(figures))  # noqa: T201
    assert len(server.log) <= 384 + 20 * CONNECTIONS


@pytest.mark.slow
def test_kills_amid_faults_that_pass(scripted_env, tmp_path):
    names = ["drop before headers", "drop in the body", "429", "500", "malformed JSON"]
    faults = Faults(dict.fromkeys(names, 0.03), seed=1, attempts=1)
    server = HostileServer(Behaviour(harmful=0.7, harmless=0.3), faults, latency=0.03)
    with serving_hostile(server) as url:
        kill_again_and_again(server, url, tmp_path, scripted_env(url), kills=5, each=6, seed=2)
