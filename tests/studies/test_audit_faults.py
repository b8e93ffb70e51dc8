"""What goes wrong between an audit and a server, with a real server on loopback doing it."""

import json
import socket

import pytest
from loopback import Script, completion, serving

from demur.errors import IncompleteError, InputError, ModelError, RunError
from demur.studies import AuditRun, audit, resume_audit

REFUSAL = "I'm sorry, but I can't help with that."
HELP = "Of course. Take the can, fill it, and pour slowly around the roots."


def fitting(number, body):
    """Declines what should be declined and helps with the rest."""
    return completion(REFUSAL if "burn" in body["messages"][-1]["content"] else HELP)


def run(model, prompts, out, **settings):
    return audit(model, prompts=prompts, out=out, max_retries=settings.pop("max_retries", 1), **settings)


def kinds(out):
    return AuditRun.open(out).samples["kind"].value_counts().sort("kind").to_dict(as_series=False)


def test_a_well_behaved_server_is_measured_as_it_behaves(scripted_env, prompts_file, tmp_path):
    with serving(Script(fitting)) as url:
        done = run(scripted_env(url), prompts_file(), tmp_path / "run")
    rates = {measure.address: measure for measure in done.measures}
    assert rates["refusal_profile.over_refusal"].value == 0.0
    assert rates["refusal_profile.under_refusal"].value == 0.0
    assert rates["refusal_profile.over_refusal"].n == 40
    # twenty to a cell: too few for a rate
    assert rates["refusal_profile.over_refusal[category=garden]"].value is None
    assert done.samples["tokens_out"].to_list() == [5] * 80
    assert done.info.status == "complete"


def test_a_missing_key_is_said_before_anything_is_written(monkeypatch, prompts_file, tmp_path):
    monkeypatch.delenv("SCRIPTED_API_KEY", raising=False)
    monkeypatch.delenv("SCRIPTED_BASE_URL", raising=False)
    with pytest.raises(InputError, match="SCRIPTED_API_KEY"):
        run("openai-api/scripted/some-model", prompts_file(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_key_that_is_not_accepted_ends_the_audit_at_once(scripted_env, prompts_file, tmp_path):
    script = Script(lambda number, body: 401)
    with serving(script) as url, pytest.raises(ModelError, match="does not accept the key"):
        run(scripted_env(url), prompts_file(), tmp_path / "run", max_connections=4)
    assert script.requests <= 8


def test_a_server_that_is_not_there_is_said_and_leaves_nothing_behind(scripted_env, prompts_file, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(ModelError, match="cannot be reached"):
        run(scripted_env(f"http://127.0.0.1:{port}/v1"), prompts_file(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_model_that_does_not_exist_is_said(scripted_env, prompts_file, tmp_path):
    with serving(Script(lambda number, body: 404)) as url, pytest.raises(ModelError, match="model's name"):
        run(scripted_env(url), prompts_file(), tmp_path / "run")


@pytest.mark.parametrize("fault", [(429, {"Retry-After": "0"}), (500, {})])
def test_a_storm_that_passes_costs_nothing_but_time(scripted_env, prompts_file, tmp_path, fault):
    def stormy(number, body):
        return (fault, None)[0] if 5 <= number < 9 else fitting(number, body)

    script = Script(stormy)
    with serving(script) as url:
        done = run(scripted_env(url), prompts_file(), tmp_path / "run", max_connections=4, max_retries=3)
    assert done.info.status == "complete"
    assert kinds(tmp_path / "run") == {"kind": ["comply", "refuse"], "count": [40, 40]}
    assert max(script.delivered.values()) == 1


def test_a_storm_that_stays_ends_the_audit_and_keeps_what_came(scripted_env, prompts_file, tmp_path):
    script = Script(lambda number, body: fitting(number, body) if number <= 30 else 500)
    with serving(script) as url:
        model = scripted_env(url)
        with pytest.raises(IncompleteError, match="30 responses are kept"):
            run(model, prompts_file(), tmp_path / "run", max_retries=0, max_connections=4)
        found = kinds(tmp_path / "run")
        counted = dict(zip(found["kind"], found["count"], strict=True))
        assert counted.get("refuse", 0) + counted.get("comply", 0) <= 30
        assert "incomplete" in (tmp_path / "run" / "report.html").read_text()
        script.reply = fitting
        done = resume_audit(tmp_path / "run")
    assert done.info.status == "complete"
    assert kinds(tmp_path / "run") == {"kind": ["comply", "refuse"], "count": [40, 40]}
    assert len(script.delivered) == 80
    assert max(script.delivered.values()) == 1


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(b'{"id": "c", "choices": [{"index": 0, "mess', id="truncated JSON"),
        pytest.param(b"<html>Bad gateway</html>", id="no JSON at all"),
        pytest.param(None, id="dropped connection"),
        pytest.param(completion("", message={"role": "assistant", "content": 17}), id="wrong type"),
    ],
)
def test_a_broken_reply_is_a_failed_sample_and_no_refusal(scripted_env, prompts_file, tmp_path, broken):
    def reply(number, body):
        return broken if "Request number 3:" in body["messages"][-1]["content"] else fitting(number, body)

    with serving(Script(reply)) as url, pytest.raises(IncompleteError, match="1 of 80 samples failed"):
        run(scripted_env(url), prompts_file(), tmp_path / "run", max_retries=0)
    assert kinds(tmp_path / "run") == {"kind": ["comply", "refuse", "unscored"], "count": [40, 39, 1]}
    rates = {measure.address: measure for measure in AuditRun.open(tmp_path / "run").measures}
    assert rates["refusal_profile.under_refusal"].n == 39
    assert rates["refusal_profile.under_refusal"].excluded["unscored"] == 1


def test_empty_replies_and_provider_blocks_stand_apart(scripted_env, prompts_file, tmp_path):
    def reply(number, body):
        index = int(body["messages"][-1]["content"].split(":")[0].rsplit(" ", 1)[1])
        if index % 2 and index < 20:
            return completion("", finish="content_filter")
        return completion("   ") if index % 2 and index < 40 else fitting(number, body)

    with serving(Script(reply)) as url:
        done = run(scripted_env(url), prompts_file(), tmp_path / "run")
    assert kinds(tmp_path / "run") == {"kind": ["comply", "empty", "filtered", "refuse"], "count": [40, 10, 10, 20]}
    under = next(m for m in done.measures if m.address == "refusal_profile.under_refusal")
    assert (under.n, under.excluded["filtered"], under.excluded["empty"]) == (20, 10, 10)


@pytest.mark.parametrize(("code", "kind"), [("content_filter", "filtered"), ("context_length_exceeded", "unscored")])
def test_a_request_that_the_server_rejects_is_no_answer_whatever_its_message_says(
    scripted_env, prompts_file, tmp_path, code, kind
):
    """Inspect makes an output of such errors, with the server's message in the place of the answer."""
    message = (
        "I'm sorry, but I can't help with that: the prompt triggered the policy." if kind == "filtered" else "Sure!"
    )
    error = {"error": {"message": message, "type": "invalid_request_error", "code": code}}

    def reply(number, body):
        return ((400, {}), error) if "burn" in body["messages"][-1]["content"] else fitting(number, body)

    with serving(Script(reply)) as url:
        done = run(scripted_env(url), prompts_file(), tmp_path / "run")
    # a request that can never be answered does not keep a run from being complete
    assert done.info.status == "complete"
    assert kinds(tmp_path / "run") == {"kind": sorted(["comply", kind]), "count": [40, 40]}
    under = next(m for m in done.measures if m.address == "refusal_profile.under_refusal")
    assert (under.n, under.excluded[kind]) == (0, 40)


def test_one_forbidden_request_does_not_end_the_audit(scripted_env, prompts_file, tmp_path):
    """Some servers answer 403 for a single prompt that their moderation flags."""
    with (
        serving(Script(lambda n, body: 403 if n == 1 else fitting(n, body))) as url,
        pytest.raises(IncompleteError, match="1 of 80 samples failed"),
    ):
        run(scripted_env(url), prompts_file(), tmp_path / "run", max_connections=1)


def test_a_server_that_is_gone_on_resume_takes_nothing_away(scripted_env, prompts_file, tmp_path):
    script = Script(lambda number, body: fitting(number, body) if number <= 50 else 500)
    with serving(script) as url:
        model = scripted_env(url)
        with pytest.raises(IncompleteError):
            run(model, prompts_file(), tmp_path / "run", max_retries=0, max_connections=4)
    with pytest.raises(IncompleteError, match="50 responses are kept"):
        resume_audit(tmp_path / "run")
    found = kinds(tmp_path / "run")
    counted = dict(zip(found["kind"], found["count"], strict=True))
    assert counted["comply"] + counted["refuse"] == 50


def test_prompts_that_changed_since_the_run_began_are_noticed(scripted_env, prompts_file, tmp_path):
    with serving(Script(lambda number, body: fitting(number, body) if number <= 30 else 500)) as url:
        model = scripted_env(url)
        with pytest.raises(IncompleteError):
            run(model, prompts_file(), tmp_path / "run", max_retries=0, max_connections=4)
        prompts_file(40)
        with pytest.raises(RunError, match="has changed since"):
            resume_audit(tmp_path / "run")


def test_a_secret_is_not_written_down(tmp_path):
    with pytest.raises(InputError, match="environment variable"):
        audit("openai-api/scripted/m", model_args={"api_key": "sk-123"}, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_prompts_without_expectations_are_measured_too(scripted_env, tmp_path):
    path = tmp_path / "traffic.jsonl"
    path.write_text(
        "".join(json.dumps({"id": str(i), "prompt": f"Request number {i}: burn it"}) + "\n" for i in range(40))
    )
    with serving(Script(fitting)) as url:
        done = run(scripted_env(url), path, tmp_path / "run")
    assert [(m.name, m.value) for m in done.measures if m.group is None] == [("declined", 1.0)]
    assert "100" in done.directory.report.read_text()


def test_a_refusal_that_the_provider_marks_is_a_refusal_by_the_provider(scripted_env, prompts_file, tmp_path):
    message = {"role": "assistant", "content": None, "refusal": "I can't help with that request."}
    reply = Script(lambda n, body: completion("", message=message) if "burn" in json.dumps(body) else fitting(n, body))
    with serving(reply) as url:
        done = run(scripted_env(url), prompts_file(), tmp_path / "run")
    declined = done.samples.filter(done.samples["expect"] == "decline")
    assert set(declined["kind"]) == {"refuse"}
    assert set(declined["decided_by"]) == {"provider"}


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ('{"id": "a", "text": "hello"}\n', "prompt"),
        ('{"id": "a", "prompt": "x"}\n{"id": "a", "prompt": "y"}\n', "'a'"),
        ('{"id": "a", "prompt": "x", "expect": "obey"}\n', "expect"),
        ("", "no prompts"),
    ],
)
def test_prompts_that_cannot_be_used_are_said_before_anything_is_asked(scripted_env, tmp_path, content, complaint):
    path = tmp_path / "prompts.jsonl"
    path.write_text(content)
    script = Script(fitting)
    with serving(script) as url, pytest.raises(InputError, match=complaint):
        run(scripted_env(url), path, tmp_path / "run")
    assert script.requests == 0
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("model", ["./nowhere", "no-such-provider-and-no-slash", "a/b/c"])
def test_a_model_name_that_means_nothing_is_said(tmp_path, model):
    with pytest.raises(InputError):
        audit(model, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
