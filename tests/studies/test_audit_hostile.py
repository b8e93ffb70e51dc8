"""An audit of a model whose behaviour is known, behind a server that does what servers do: the truth is recovered."""

import json
import re
from collections import Counter

import pytest
from hostile_model import (
    ALWAYS_COMPLIES,
    ALWAYS_REFUSES,
    CATEGORIES,
    CONTRADICTS_ITSELF,
    OVER_REFUSES,
    REFUSES_ONE_CATEGORY,
    THINKING,
    Behaviour,
    write_prompts,
)
from hostile_server import CONTENT, TRANSPORT, Faults, HostileServer, serving_hostile

from demur.errors import IncompleteError
from demur.studies import AuditRun, audit, resume_audit

NOISY = pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning")
"""The OpenAI client's own complaint about replies of the wrong types, before Inspect trips over them."""

MIXED = Behaviour(harmful=0.7, harmless=0.3)

# What a row's `error` must say, by fault.
SAYS = {
    "drop before headers": "Connection error",
    "drop after headers": "Connection error",
    "drop in the body": "Connection error",
    "half and reset": "Connection error",
    "half and close": "JSONDecodeError|stream ended before the reply",
    "half and a proper end": "JSONDecodeError|stream ended before the reply",
    "malformed JSON": "JSONDecodeError",
    "HTML with 200": "server_error|without delivering",
    "choices as a mapping": "AttributeError",
    "content as a number": "TypeError",
    "usage as text": "AttributeError",
    "stall": "AttemptTimeoutError",
    "403": "HTTP 403",
    "429": "HTTP 429",
    "429 with Retry-After": "HTTP 429",
    "500": "HTTP 500",
    "503": "HTTP 503",
}
STAYS = {"choices as a mapping", "content as a number", "usage as text", "403"}
"""What another attempt would not mend, so that none is made."""


@pytest.fixture
def ask(scripted_env, tmp_path):
    """Audits a hostile server; returns the run and what stopped it, if anything did."""

    def begin(server, url, *, each, categories=CATEGORIES, stream=False, out="run", **settings):
        prompts = tmp_path / f"{out}.jsonl"
        write_prompts(prompts, each, categories)
        # with the client's own retries off, every attempt is one request
        given = {"max_retries": 0, "model_args": {"max_retries": 0} | ({"stream": True} if stream else {})}
        try:
            run = audit(scripted_env(url), prompts=str(prompts), out=tmp_path / out, **(given | settings))
        except IncompleteError as error:
            return AuditRun.open(tmp_path / out), str(error)
        return run, None

    return begin


def rates(run):
    return {measure.address: measure for measure in run.measures}


def assert_covers(measure, planted):
    assert measure.low <= planted <= measure.high, f"{measure.address}: {planted} not in {measure}"


def assert_as_planted(server, row):
    """The verdict of a row is what the model behind the server meant."""
    number = next(request.attempt for request in reversed(server.log) if request.prompt == row["prompt"])
    assert row["declined"] == server.behaviour.reply(row["prompt"], number).declines, row


@pytest.mark.parametrize("behaviour", [ALWAYS_REFUSES, ALWAYS_COMPLIES, OVER_REFUSES])
def test_what_was_planted_lies_inside_its_interval(ask, behaviour):
    server = HostileServer(behaviour)
    with serving_hostile(server) as url:
        run, _ = ask(server, url, each=5, max_connections=20)
    for row in run.samples.to_dicts():
        assert_as_planted(server, row)
    assert_covers(rates(run)["refusal_profile.over_refusal"], behaviour.harmless)
    assert_covers(rates(run)["refusal_profile.under_refusal"], 1 - behaviour.harmful)


def test_the_category_that_is_refused_stands_out(ask):
    categories = CATEGORIES[:4]
    behaviour = REFUSES_ONE_CATEGORY
    server = HostileServer(behaviour)
    with serving_hostile(server) as url:
        run, _ = ask(server, url, each=32, categories=categories, max_connections=20)
    found = rates(run)
    inside = 0
    for trigger, _, _ in categories:
        over = found[f"refusal_profile.over_refusal[category={trigger}]"]
        under = found[f"refusal_profile.under_refusal[category={trigger}]"]
        inside += over.low <= behaviour.by_trigger.get(trigger, behaviour.harmless) <= over.high
        inside += under.low <= 1 - behaviour.by_trigger.get(trigger, behaviour.harmful) <= under.high
        assert (over.value > 0.5) == (trigger == "forge")
        assert (under.value < 0.5) == (trigger == "forge")
    # eight intervals of 95 %: fewer than six would be one run in two hundred
    assert inside >= 6


def test_reasoning_that_says_the_opposite_changes_no_verdict(ask):
    server = HostileServer(CONTRADICTS_ITSELF)
    with serving_hostile(server) as url:
        run, _ = ask(server, url, each=6, max_connections=20)
    rows = run.samples.to_dicts()
    contradicting = 0
    for row in rows:
        assert_as_planted(server, row)
        planted = server.behaviour.reply(row["prompt"], 1)
        assert row["reasoning"] == THINKING[planted.thinks]
        contradicting += planted.thinks != row["declined"]
    # three standard errors of a share of 0.3 at n = 96
    assert abs(contradicting / len(rows) - CONTRADICTS_ITSELF.contradicts) < 0.14
    assert_covers(rates(run)["refusal_profile.under_refusal"], 1 - CONTRADICTS_ITSELF.harmful)
    assert_covers(rates(run)["refusal_profile.over_refusal"], CONTRADICTS_ITSELF.harmless)


def check_rows(server, run):
    """Every row is what the server did to it; returns how often each fault struck."""
    struck = Counter()
    for row in run.samples.to_dicts():
        fault = server.faults.strike(row["prompt"], 1)
        struck[fault] += 1
        if fault in TRANSPORT:
            assert (row["kind"], row["declined"], row["ending"]) == ("unscored", None, "error"), (fault, row)
            assert re.search(SAYS[fault], row["error"]), (fault, row["error"])
            # only Inspect's own deadline still hides behind the error that says that retries ran out
            assert fault == "stall" or "RetryError" not in row["error"]
        elif fault in {"filtered", "filtered with text"}:
            assert row["ending"] == "filtered", row
            assert fault == "filtered with text" or (row["kind"], row["declined"]) == ("filtered", None)
        elif fault == "refusal field":
            assert (row["kind"], row["decided_by"]) == ("refuse", "provider")
        elif fault == "no choices":
            assert (row["kind"], row["error"]) == ("unscored", "the provider returned no choice")
        elif fault == "empty content":
            assert (row["kind"], row["declined"]) == ("empty", None)
        elif fault == "tool call":
            # a call is an answer, whatever becomes of it; what matters is that nobody plays along and asks again
            assert row["kind"] in {"comply", "empty"}, row
            assert server.asked[row["prompt"]] == 1
        elif fault == "huge":
            assert (row["kind"], len(row["response"]) > 0.9 * server.huge) == ("comply", True)
        else:
            assert_as_planted(server, row)
            assert (row["ending"], row["error"]) == ("end", None)
    return struck


@NOISY
@pytest.mark.parametrize("stream", [False, True])
def test_faults_appear_as_faults_and_leave_the_rest_unbiased(ask, stream):
    """All faults at once, on nearly half the prompts, without end; then the server is mended and the run resumed."""
    names = [name for name in (*TRANSPORT, *CONTENT) if name != "stall"]
    server = HostileServer(MIXED, Faults(dict.fromkeys(names, 0.45 / len(names)), seed=0), huge=200_000)
    with serving_hostile(server) as url:
        run, stopped = ask(server, url, each=8, stream=stream, max_connections=20)
        struck = check_rows(server, run)
        assert set(names) <= set(struck)
        broken = sum(struck[name] for name in TRANSPORT)
        assert f"{broken} of 128 samples failed" in stopped
        assert run.info.counts["errors"] == broken
        # no request was made twice, and every one is counted
        assert set(server.asked.values()) == {1}
        assert run.info.counts["requests"] == len(server.log) == 128
        found = rates(run)
        assert_covers(found["refusal_profile.under_refusal"], 1 - MIXED.harmful)
        assert_covers(found["refusal_profile.over_refusal"], MIXED.harmless)
        assert found["refusal_profile.declined"].excluded["unscored"] == broken + struck["no choices"]

        server.faults = Faults()
        before = {request.prompt for request in server.log if request.fault not in TRANSPORT}
        asked = len(server.log)
        done = resume_audit(run.path)
        assert done.info.status == "complete"
        # what had arrived, however odd, is not asked for again
        assert not before & {request.prompt for request in server.log[asked:]}
        assert len(server.log) == asked + broken


def check_mended(server, run, names, each):
    """Every fault struck the first attempt only, and one more request mended it."""
    assert run.info.status == "complete"
    assert {request.fault for request in server.log} == {None, *names}
    struck = {request.prompt for request in server.log if request.fault}
    assert all(count == 1 + (prompt in struck) for prompt, count in server.asked.items())
    assert len(server.log) == 16 * each + len(struck)
    for row in run.samples.to_dicts():
        assert_as_planted(server, row)
    return len(struck)


def test_faults_that_pass_cost_nothing_but_requests(ask):
    """Those that the client mends by itself, within one attempt."""
    names = ["drop before headers", "drop after headers", "drop in the body", "half and reset", "429", "500", "503"]
    server = HostileServer(MIXED, Faults(dict.fromkeys(names, 0.5 / len(names)), seed=2, attempts=1))
    with serving_hostile(server) as url:
        run, _ = ask(server, url, each=4, max_connections=64, model_args={})
    assert check_mended(server, run, names, 4)
    assert run.info.counts["requests"] == 64


def test_a_server_that_says_how_long_to_wait_is_left_alone_for_so_long(ask):
    server = HostileServer(faults=Faults({"429 with Retry-After": 0.5}, attempts=1), retry_after="2")
    with serving_hostile(server) as url:
        # the client's own retries, which are what obeys the header
        run, _ = ask(server, url, each=1, model_args={})
    assert run.info.status == "complete"
    turned_away = {request.prompt: request.at for request in server.log if request.fault}
    assert turned_away
    for request in server.log:
        if request.attempt == 2:
            assert request.at - turned_away[request.prompt] >= 2.0


def test_what_goes_wrong_does_not_depend_on_the_order_of_arrival(ask):
    faults = Faults({"empty content": 0.2, "filtered": 0.2})
    seen = []
    for connections in (1, 20):
        server = HostileServer(MIXED, faults)
        with serving_hostile(server) as url:
            run, _ = ask(server, url, each=1, out=f"run-{connections}", max_connections=connections)
        seen.append(run.samples.select("id", "kind", "response").sort("id").rows())
    assert seen[0] == seen[1]


# ------------------------------------------------------------------------------------------------------------ by hand


@pytest.mark.slow
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_faults_that_pass_are_mended_by_one_retry(ask, stream):
    """All that may pass, with the client's own retries off, so that each costs one attempt more."""
    names = [name for name in TRANSPORT if name not in STAYS | {"stall"}]
    server = HostileServer(MIXED, Faults(dict.fromkeys(names, 0.5 / len(names)), seed=2, attempts=1))
    with serving_hostile(server) as url:
        # so many at once that all wait for their retry together
        run, _ = ask(server, url, each=4, stream=stream, max_connections=64, max_retries=1)
    assert run.info.counts["requests"] == 64 + check_mended(server, run, names, 4)


@NOISY
@pytest.mark.slow
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("fault", [*TRANSPORT, *CONTENT])
def test_each_fault_alone(ask, fault, stream):
    rate = 0.06 if fault == "huge" else 0.4
    server = HostileServer(MIXED, Faults({fault: rate}, seed=3))
    with serving_hostile(server) as url:
        # patience for a stalled reply, and enough for an honest one on a busy machine
        run, stopped = ask(
            server, url, each=4, stream=stream, timeout=8 if fault == "stall" else 60, max_connections=30
        )
    struck = check_rows(server, run)
    assert struck[fault]
    assert (stopped is None) == (fault in CONTENT)


@pytest.mark.slow
def test_intervals_cover_the_planted_rates_as_often_as_they_claim(ask):
    inside = total = 0
    for seed in range(30):
        server = HostileServer(Behaviour(harmful=0.8, harmless=0.15, seed=seed))
        with serving_hostile(server) as url:
            run, _ = ask(server, url, each=5, out=f"run-{seed}", max_connections=20)
        found = rates(run)
        for name, planted in (("over_refusal", 0.15), ("under_refusal", 0.2)):
            measure = found[f"refusal_profile.{name}"]
            total += 1
            inside += measure.low <= planted <= measure.high
    print(json.dumps({"intervals": total, "covering": inside}))  # noqa: T201
    # of sixty intervals of 95 % fewer than fifty-two cover once in five hundred times
    assert inside >= 52
