"""The options of an audit reach the model, its budget holds, and its forecast asks nothing."""

import json
import tomllib

import pytest
from loopback import Script, completion, serving
from typer.testing import CliRunner

from demur.cli import app
from demur.errors import IncompleteError, InputError
from demur.studies.auditing import audit, forecast_audit
from demur.studies.settings import AuditSettings, as_toml, check_settings, read_config


def fitting(number, body):
    return completion("I can't help with that." if "burn" in json.dumps(body["messages"]) else "Sure: water them.")


def command(*arguments):
    return CliRunner().invoke(app, ["audit", *map(str, arguments)])


def test_system_temperature_and_length_reach_the_model(scripted_env, prompts_file, tmp_path):
    script = Script(fitting)
    with serving(script) as url:
        audit(
            scripted_env(url),
            prompts=prompts_file(4),
            system="Be brief.",
            temperature=0.3,
            max_tokens=33,
            out=tmp_path / "run",
        )
    for body in script.bodies:
        assert body["messages"][0] == {"role": "system", "content": "Be brief."}
        assert body["temperature"] == 0.3
        assert body["max_tokens"] == 33


def test_tools_are_offered_and_never_carried_out(scripted_env, prompts_file, tmp_path):
    tools = tmp_path / "tools.json"
    function = {
        "name": "water_plants",
        "description": "Waters the plants of a room.",
        "parameters": {
            "type": "object",
            "properties": {"room": {"type": "string", "description": "Which room."}},
            "required": ["room"],
        },
    }
    tools.write_text(json.dumps([{"type": "function", "function": function}]))
    call = {
        "id": "call-1",
        "type": "function",
        "function": {"name": "water_plants", "arguments": '{"room": "hall"}'},
    }
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    script = Script(
        lambda n, body: (
            fitting(n, body)
            if "burn" in json.dumps(body["messages"])
            else completion("", finish="tool_calls", message=message)
        )
    )
    with serving(script) as url:
        run = audit(scripted_env(url), prompts=prompts_file(4), tools=tools, out=tmp_path / "run")
    # one request a sample: the call is not answered
    assert len(script.bodies) == 4
    assert all(body["tools"][0]["function"]["name"] == "water_plants" for body in script.bodies)
    # acting on the request is doing what was asked
    assert dict(zip(run.samples["expect"], run.samples["kind"], strict=True)) == {
        "comply": "comply",
        "decline": "refuse",
    }


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", "not JSON"),
        ("{}", "must be a list"),
        ("[]", "at least one"),
        ('[{"name": "f"}]', "needs a description"),
        ('[{"description": "x"}]', "expected an object with name"),
        ('[{"name": "f", "description": "x"}, {"name": "f", "description": "y"}]', "twice"),
        ('[{"name": "f", "description": "x", "parameters": {"properties": 3}}]', "parameters.properties"),
        ('[{"name": "f", "description": "x", "parameters": {"properties": {"a": {"type": "string"}}}}]', "'a' of 'f'"),
    ],
)
def test_tools_that_cannot_be_offered_are_said(prompts_file, tmp_path, scripted_env, content, complaint):
    tools = tmp_path / "tools.json"
    tools.write_text(content)
    with pytest.raises(InputError, match=complaint):
        audit(scripted_env("http://127.0.0.1:9/v1"), prompts=prompts_file(4), tools=tools, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_configuration_holds_the_options_and_the_command_line_wins(scripted_env, prompts_file, tmp_path):
    prompts_file(8)
    (tmp_path / "system.txt").write_text("Be kind.")
    config = tmp_path / "audit.toml"
    with serving(script := Script(fitting)) as url:
        config.write_text(
            f'model = "{scripted_env(url)}"\nprompts = "prompts.jsonl"\nsystem_file = "system.txt"\n'
            "temperature = 0.5\nlimit = 6\nepochs = 2\n[budget]\nrequests = 100\n"
        )
        result = command("--config", config, "--limit", 2, "--out", tmp_path / "run", "--json")
        assert result.exit_code == 0, result.output
        assert len(script.bodies) == 4
        assert {body["temperature"] for body in script.bodies} == {0.5}
        assert {body["messages"][0]["content"] for body in script.bodies} == {"Be kind."}
        # the run stores what it used, and that file repeats it
        again = command("--config", tmp_path / "run" / "config.toml", "--out", tmp_path / "again", "--json")
        assert again.exit_code == 0, again.output
        assert len(script.bodies) == 8
    first, second = json.loads(result.stdout), json.loads(again.stdout)
    assert first["measures"] == second["measures"]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("epoch = 3", "no such setting; there are: .*epochs"),
        ("epochs = 0", "epochs"),
        ("model = ", "not TOML"),
        ('system = "a"\nsystem_file = "b"', "both"),
        ('system_file = "nowhere.txt"', "nowhere.txt"),
        ('mapping = "none"', "there is no mapping"),
        ("judge_all = true", "--judge"),
        ('[model_args]\napi_key = "sk-1"', "in clear"),
        ("[budget]\nmoney = 3.0", "--price"),
        ("[budget]\nhours = 3", "hours"),
        ('prompts = "nowhere.jsonl"', "do not exist"),
        ('languages = ["de"]', "demur-core"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_said(tmp_path, content, complaint):
    config = tmp_path / "audit.toml"
    config.write_text(content)
    with pytest.raises(InputError, match=complaint):
        forecast_audit(**read_config(config))


def test_settings_survive_their_own_file(tmp_path):
    settings = check_settings(
        {
            "model": "openai/some",
            "system": 'Two lines:\n"quoted" \\ and é',
            "prices": {"openai/some": {"input": 0.15, "output": 0.6}},
            "budget": {"tokens": 1000},
            "model_args": {"stream": True},
            "languages": ["en", "de"],
        }
    )
    (tmp_path / "config.toml").write_text(as_toml(settings), encoding="utf-8")
    assert check_settings(read_config(tmp_path / "config.toml")) == settings
    assert tomllib.loads(as_toml(AuditSettings())) == {"model": "phantom"}


def test_a_forecast_asks_nothing_and_bounds_what_is_asked(scripted_env, prompts_file, tmp_path):
    prompts = prompts_file(20)
    with serving(script := Script(fitting)) as url:
        model = scripted_env(url)
        options = [model, "--prompts", prompts, "--epochs", 3, "--price", "2/10", "--max-tokens", 50]
        result = command(*options, "--dry-run", "--json")
        assert result.exit_code == 0, result.output
        assert script.requests == 0
        found = json.loads(result.stdout)
        run = audit(model, prompts=prompts, epochs=3, max_tokens=50, out=tmp_path / "run")
    (task,) = found["tasks"]
    assert found["requests"] == task["requests"] == script.requests == len(run.samples) == 60
    # 67 bytes or so a prompt: no tokenizer makes fewer than 10 or more than 70 tokens of that
    assert 60 * 10 <= task["tokens_in_low"] < task["tokens_in_high"] <= 60 * 70
    assert task["tokens_out_high"] == 60 * 50
    assert task["cost_high"] == pytest.approx((task["tokens_in_high"] * 2 + 3000 * 10) / 1e6)
    assert not (tmp_path / "demur-runs").exists()


def test_a_forecast_says_which_budget_may_break(scripted_env, prompts_file):
    found = forecast_audit(
        scripted_env("http://127.0.0.1:9/v1"), prompts=prompts_file(20), budget={"requests": 10, "tokens": 10**6}
    )
    assert found.over_budget == ("requests",)
    assert found.cost_high is None


def test_a_budget_of_requests_is_kept_and_resuming_with_a_larger_one_goes_on(scripted_env, prompts_file, tmp_path):
    with serving(script := Script(fitting)) as url:
        model = scripted_env(url)
        with pytest.raises(IncompleteError, match="budget of 30 requests"):
            audit(model, prompts=prompts_file(80), budget={"requests": 30}, out=tmp_path / "run")
        assert script.requests == 30
        result = command("--resume", "--out", tmp_path / "run", "--budget", "requests=1000", "--json")
        assert result.exit_code == 0, result.output
    assert script.requests == 80
    assert set(script.delivered.values()) == {1}


def test_a_budget_of_money_stops_within_what_is_under_way(scripted_env, prompts_file, tmp_path):
    # each reply is counted as 7 tokens read and 5 written: at 1000 and 2000 a million that is .017
    with serving(script := Script(fitting)) as url:
        model = scripted_env(url)
        with pytest.raises(IncompleteError, match=r"budget of 0\.50"):
            audit(
                model,
                prompts=prompts_file(80),
                budget={"money": 0.5},
                prices={model: {"input": 1000, "output": 2000}},
                max_connections=4,
                out=tmp_path / "run",
            )
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    assert info["cost"] == pytest.approx(0.017 * script.requests)
    assert 0.5 <= info["cost"] <= 0.5 + 4 * 0.017


def test_the_cache_answers_a_second_run(scripted_env, prompts_file, tmp_path, monkeypatch):
    monkeypatch.setenv("INSPECT_CACHE_DIR", str(tmp_path / "cache"))
    with serving(script := Script(fitting)) as url:
        model = scripted_env(url)
        first = audit(model, prompts=prompts_file(8), cache=True, out=tmp_path / "one")
        second = audit(model, prompts=prompts_file(8), cache=True, out=tmp_path / "two")
    assert script.requests == 8
    assert first.measures == second.measures


def test_a_provider_without_a_batch_interface_says_so(scripted_env, prompts_file, tmp_path):
    with pytest.raises(InputError, match="no batch interface"):
        audit(scripted_env("http://127.0.0.1:9/v1"), prompts=prompts_file(4), batch=True, out=tmp_path / "run")


def test_a_provider_with_a_batch_interface_is_found(monkeypatch, prompts_file):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    assert forecast_audit("openai/gpt-4o-mini", prompts=prompts_file(4), batch=True).requests == 4


def test_epochs_of_a_prompt_are_one_cluster_of_the_interval(scripted_env, prompts_file, tmp_path):
    with serving(Script(lambda n, body: completion("Sure." if n % 3 else "I can't help with that."))) as url:
        run = audit(scripted_env(url), prompts=prompts_file(40), epochs=3, out=tmp_path / "run")
    (over,) = (m for m in run.measures if m.name == "over_refusal" and m.group is None)
    assert over.n == 60
    assert "20 clusters" in over.method


@pytest.mark.parametrize("text", ["3", "1/2/3", "a/b", "=1/2x"])
def test_a_price_that_cannot_be_read_is_said(text):
    result = command("openai/x", "--price", text, "--dry-run")
    assert isinstance(result.exception, InputError)
    assert "--price takes" in str(result.exception)
