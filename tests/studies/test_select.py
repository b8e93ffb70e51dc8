"""Selecting training rows by their cliff: steered truth, overlaps, resuming, formats, the command."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'local'")

from loopback import Script, completion, serving  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from demur import phantom  # noqa: E402
from demur.cli.main import app  # noqa: E402
from demur.errors import ArtefactError, IncompleteError, InputError, MissingExtraError, RunError  # noqa: E402
from demur.models import writing  # noqa: E402
from demur.states.probe import Probe  # noqa: E402
from demur.studies.selecting import SelectSettings, select_rows  # noqa: E402

REFUSAL = "I'm sorry, but I can't help with that."
ANSWER = "First make a plan, then gather what you need, and finish with a last check."
THOUGHT = "The user asks how to paint a fence. That is harmless, so I can help."


@pytest.fixture(scope="module")
def model():
    torch.set_num_threads(1)
    return phantom.load()


@pytest.fixture(scope="module")
def probe(model):
    weight = torch.randn(model.structure.width, generator=torch.Generator().manual_seed(1))
    return Probe(weight, 0.0, 2, "last", normed=False)


@pytest.fixture
def steered(model, probe):
    """Every chat's closing tokens are put at .1, and its reasoning at a level that its number of `!` says."""

    def level(ids):
        marks = sum("!" in text for text in model.token_texts(ids))
        return 0.1 + 0.08 * marks

    close = model.tokenizer.convert_tokens_to_ids("</think>")

    def write(states):
        moved = states.clone()
        unit = probe.weight / probe.weight.norm() ** 2
        for row, ids in enumerate(seen[-1].tolist()):
            plan = torch.full((len(ids),), level(ids))
            if close in ids:
                plan[ids.index(close) :] = 0.1
            wanted = torch.tensor([math.log(p / (1 - p)) for p in plan.tolist()])
            moved[row] += (wanted - (states[row] @ probe.weight))[:, None] * unit
        return moved

    seen = []
    handle = model.model.register_forward_pre_hook(lambda _m, _a, kw: seen.append(kw["input_ids"]), with_kwargs=True)
    with writing(model.structure, {(2, "resid_post"): write}):
        yield
    handle.remove()


def _rows(n=20):
    """Row i has i % 10 marks in its reasoning, and a refusal in every fourth answer."""
    return [
        {
            "id": f"r{i}",
            "prompt": f"How do I paint fence {i}?",
            "reasoning": THOUGHT + " !" * (i % 10),
            "response": REFUSAL if i % 4 == 0 else ANSWER,
        }
        for i in range(n)
    ]


@pytest.fixture
def data(tmp_path):
    def write(rows=None, name="data.jsonl"):
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in (_rows() if rows is None else rows)))
        return str(path)

    return write


def _load(path):
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def test_the_largest_steered_cliffs_are_kept_and_ties_keep_their_order(model, probe, steered, data, tmp_path):
    out = tmp_path / "out.jsonl"
    found = select_rows([data()], model, probe, out, SelectSettings(fraction=0.15))
    kept = _load(out)
    # nine marks in rows 9 and 19, eight in rows 8 and 18
    assert [row["id"] for row in kept] == ["r8", "r9", "r19"]
    assert [row["cliff"]["rank"] for row in kept] == [3, 1, 2]
    assert [row["cliff"]["drop"] for row in kept] == pytest.approx([0.64, 0.72, 0.72], abs=2e-3)
    assert all(row["cliff"]["final"] == pytest.approx(0.1, abs=1e-3) for row in kept)
    assert {key for row in kept for key in row} == {"id", "prompt", "reasoning", "response", "cliff"}
    assert (found.rows, found.scored, found.kept) == (20, 20, 3)
    assert found.threshold == pytest.approx(0.64, abs=2e-3)
    assert found.mean_drop_all == pytest.approx(0.36, abs=2e-3)
    assert not (tmp_path / "out.jsonl.progress.jsonl").exists()
    assert not (tmp_path / "out.jsonl.rejected.jsonl").exists()


def test_what_other_ways_keep_stands_beside_it(model, probe, steered, data, tmp_path):
    out = tmp_path / "out.jsonl"
    found = select_rows([data()], model, probe, out, SelectSettings(fraction=0.15))
    scores = _load(f"{out}.scores.jsonl")
    by = {
        name: {i for i, line in enumerate(scores) if name in line["kept_by"]} for name in ("cliff", "random", "rules")
    }
    assert by["cliff"] == {8, 9, 19}
    assert by["rules"] == {i for i in range(20) if i % 4}
    assert len(by["random"]) == 3
    rules, random = found.others["rules"], found.others["random"]
    assert (rules.kept, rules.of, rules.both) == (15, 20, 2)
    assert rules.expected == pytest.approx(3 * 15 / 20)
    assert rules.jaccard == pytest.approx(2 / 16)
    assert random.both == len(by["cliff"] & by["random"])
    assert random.mean_drop == pytest.approx(sum(scores[i]["cliff"]["drop"] for i in by["random"]) / 3)
    assert found.others["judge"] is None
    again = select_rows([data()], model, probe, tmp_path / "again.jsonl", SelectSettings(fraction=0.15, seed=0))
    assert again.others == found.others


def test_the_released_measure_ranks_by_the_end_alone(model, probe, data, tmp_path):
    """Unsteered, so that the ends differ."""
    out = tmp_path / "out.jsonl"
    found = select_rows([data()], model, probe, out, SelectSettings(fraction=0.25, measure="released"))
    scores = _load(f"{out}.scores.jsonl")
    finals = sorted(line["cliff"]["final"] for line in scores)
    assert sorted(row["cliff"]["final"] for row in _load(out)) == finals[:5]
    assert found.threshold == finals[4]


def test_a_judge_stands_beside_it_and_is_paid_once(model, probe, data, tmp_path, scripted_env):
    def contrary(number, body):
        label = "comply" if "can't help" in json.dumps(body["messages"]) else "refuse"
        return completion(json.dumps({"label": label, "reason": None}))

    out, judges = tmp_path / "out.jsonl", ("openai-api/scripted/judge",)
    with serving(script := Script(contrary)) as url:
        scripted_env(url)
        found = select_rows([data()], model, probe, out, SelectSettings(fraction=0.2, judges=judges))
        asked = script.requests
        select_rows([data()], model, probe, out, SelectSettings(fraction=0.2, judges=judges), force=True)
    # rows that refuse are what this judge keeps; equal answers to other prompts are asked about again
    assert (found.others["judge"].kept, found.others["judge"].of) == (5, 20)
    assert asked == 20
    assert script.requests == 20


def test_rows_without_a_score_are_set_aside_and_the_others_go_on(model, probe, data, tmp_path):
    rows = _rows(12)
    del rows[2]["reasoning"]
    rows[5]["prompt"] = ""
    rows[7]["reasoning"] = "step " * 5000
    path = data(rows)
    lines = Path(path).read_text().splitlines()
    Path(path).write_text("\n".join([*lines[:3], "{", *lines[3:]]) + "\n")
    out = tmp_path / "out.jsonl"
    found = select_rows([path], model, probe, out, SelectSettings(fraction=0.5))
    aside = _load(f"{out}.rejected.jsonl")
    assert [row["line"] for row in aside] == [3, 4, 7, 9]
    whys = [row["why"] for row in aside]
    assert "holds no reasoning" in whys[0]
    assert "JSON" in whys[1]
    assert "empty" in whys[2]
    assert re.search(r"\d+ tokens, and the context", whys[3])
    assert (found.rows, found.scored, found.kept) == (13, 9, round(0.5 * 9))
    assert sum(found.set_aside.values()) == 4


def test_reasoning_within_answers_and_messages_is_read_the_same(model, probe, data, tmp_path):
    plain = _rows(6)
    tagged = [
        {"prompt": r["prompt"], "response": f"<think>\n{r['reasoning']}\n</think>\n\n{r['response']}"} for r in plain
    ]
    talked = [
        {"messages": [
            {"role": "user", "content": r["prompt"]},
            {"role": "assistant", "content": r["response"], "reasoning_content": r["reasoning"]},
        ]}
        for r in plain
    ]  # fmt: skip
    scores = []
    for number, rows in enumerate((plain, tagged, talked)):
        out = tmp_path / f"{number}.jsonl"
        select_rows([data(rows, f"in{number}.jsonl")], model, probe, out, SelectSettings(fraction=1))
        scores.append([(line["cliff"], line["rules"]) for line in _load(f"{out}.scores.jsonl")])
    assert scores[0] == scores[1] == scores[2]


def test_an_interrupted_run_goes_on_where_it_stopped(model, probe, data, tmp_path):
    path, settings = data(), SelectSettings(fraction=0.2, batch_size=4)
    whole = tmp_path / "whole.jsonl"
    select_rows([path], model, probe, whole, settings)
    out, scored = tmp_path / "out.jsonl", []

    def stop(rows):
        scored.append(rows)
        if rows == 8:
            raise KeyboardInterrupt

    with pytest.raises(IncompleteError, match="--resume"):
        select_rows([path], model, probe, out, settings, on_progress=stop)
    notes = tmp_path / "out.jsonl.progress.jsonl"
    assert len(notes.read_text().splitlines()) == 1 + 8
    notes.write_text(notes.read_text() + '{"source": "torn by a ki')
    with pytest.raises(InputError, match="--resume"):
        select_rows([path], model, probe, out, settings)
    with pytest.raises(RunError, match="other settings"):
        select_rows([path], model, probe, out, SelectSettings(fraction=0.3), resume=True)
    with pytest.raises(RunError, match="other probe"):
        select_rows([path], model, probe.at(1), out, settings, resume=True)
    again = []
    wider = SelectSettings(fraction=0.2, batch_size=5)
    select_rows([path], model, probe, out, wider, resume=True, on_progress=again.append)
    assert again == [13, 18, 20]
    assert [row["id"] for row in _load(out)] == [row["id"] for row in _load(whole)]


@pytest.mark.parametrize("name", ["out.csv", "out.parquet", "out.jsonl.gz"])
def test_other_formats_hold_the_same_rows(model, probe, data, tmp_path, name):
    from demur.rows import RowReader

    out = tmp_path / name
    select_rows([data()], model, probe, out, SelectSettings(fraction=0.2))
    select_rows([data()], model, probe, tmp_path / "plain.jsonl", SelectSettings(fraction=0.2))
    plain = _load(tmp_path / "plain.jsonl")
    rows = [row.fields for row in RowReader(str(out))]
    assert [row["id"] for row in rows] == [row["id"] for row in plain]
    drops = [row["cliff"]["drop"] if "cliff" in row else float(row["cliff_drop"]) for row in rows]
    assert drops == pytest.approx([row["cliff"]["drop"] for row in plain])


def test_the_model_can_think_anew(model, probe, data, tmp_path):
    rows = [{"prompt": p.text} for p in phantom.prompts(per_condition=1, kinds=["direct"], seed=2)[:8]]
    out = tmp_path / "out.jsonl"
    settings = SelectSettings(fraction=0.5, think=True, max_tokens=80, temperature=0.7)
    found = select_rows([data(rows)], model, probe, out, settings)
    assert found.scored == 8
    # rules read what the model answered now, for the rows hold no answers
    assert found.others["rules"].of == 8
    split = SelectSettings(fraction=0.5, think=True, max_tokens=80, temperature=0.7, batch_size=3)
    select_rows([data(rows)], model, probe, tmp_path / "again.jsonl", split)
    first, again = _load(f"{out}.scores.jsonl"), _load(f"{tmp_path / 'again.jsonl'}.scores.jsonl")
    drops = [[line["cliff"]["drop"] for line in lines] for lines in (first, again)]
    assert drops[0] == pytest.approx(drops[1], abs=1e-4)


def test_models_that_do_not_reason_are_read_over_the_prompt(model, probe, data, tmp_path):
    rows = [{"prompt": row["prompt"]} for row in _rows()]
    out = tmp_path / "out.jsonl"
    found = select_rows([data(rows)], model, probe, out, SelectSettings(fraction=0.1, over="prompt"))
    assert found.scored == 20
    assert found.others["rules"] is None


def test_what_cannot_be_used_says_so(model, probe, data, tmp_path, monkeypatch):
    settings, out = SelectSettings(fraction=0.5), tmp_path / "out.jsonl"
    for fraction in (0.0, 1.5, -1.0):
        with pytest.raises(InputError, match="--fraction"):
            SelectSettings(fraction=fraction)
    with pytest.raises(InputError, match="--think"):
        SelectSettings(fraction=0.5, over="prompt", think=True)
    with pytest.raises(InputError, match="no row could be scored"):
        select_rows([data([{"prompt": "x?"}])], model, probe, out, settings)
    with pytest.raises(InputError, match="no field holds the prompt"):
        select_rows([data([{"text": "x?"}])], model, probe, out, settings, force=True)
    with pytest.raises(InputError, match="--reasoning-field 'thought'"):
        select_rows([data()], model, probe, out, SelectSettings(fraction=0.5, reasoning_field="thought"), force=True)
    with pytest.raises(InputError, match="twice"):
        select_rows(["-"], model, probe, out, settings, force=True)
    path = data()
    with pytest.raises(InputError, match="also an input"):
        select_rows([path], model, probe, tmp_path / "data.jsonl", settings, force=True)
    out.write_text("kept\n")
    (tmp_path / "out.jsonl.progress.jsonl").unlink()
    with pytest.raises(InputError, match="--force"):
        select_rows([path], model, probe, out, settings)
    assert out.read_text() == "kept\n"


def test_a_folder_of_datasets_is_read_or_the_package_named(model, probe, tmp_path):
    folder = tmp_path / "saved"
    try:
        from datasets import Dataset
    except ImportError:
        folder.mkdir()
        (folder / "dataset_info.json").write_text("{}")
        with pytest.raises(MissingExtraError, match="datasets"):
            select_rows([str(folder)], model, probe, tmp_path / "out.jsonl", SelectSettings(fraction=0.5))
        return
    Dataset.from_list(_rows()).save_to_disk(str(folder))
    found = select_rows([str(folder)], model, probe, tmp_path / "out.jsonl", SelectSettings(fraction=0.5))
    assert (found.scored, found.kept) == (20, 10)


# ------------------------------------------------------------------------------------------------- the command


@pytest.fixture(scope="module")
def groups_file(tmp_path_factory):
    """Harmful and everyday acts, as the phantom treats most of them."""
    path = tmp_path_factory.mktemp("groups") / "groups.jsonl"
    rows = []
    for prompt in phantom.prompts(per_condition=3, kinds=["direct"], seed=1):
        group = "refused_harmful" if prompt.expect == "decline" else "accepted_harmless"
        rows.append({"group": group, "id": prompt.id, "text": prompt.text})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_the_command_fits_a_probe_selects_and_prints_one_object(data, groups_file, tmp_path):
    out, saved = tmp_path / "out.jsonl", tmp_path / "probe.safetensors"
    path = data([*_rows(10), {"prompt": "no reasoning"}])
    command = ["select", path, "-m", "phantom", "-p", "0.3", "-o", str(out), "--json"]
    result = CliRunner().invoke(app, [*command, "--groups", groups_file, "--save-probe", str(saved)])
    assert result.exit_code == 4, result.output
    told = json.loads(result.stdout)
    assert (told["rows"], told["scored"], told["kept"]) == (11, 10, 3)
    assert told["probe"]["layer"] == 3
    assert told["probe"]["quality"]["n"] == len(_load(groups_file))
    assert len(_load(out)) == 3
    assert "AUROC" in result.stderr
    again = CliRunner().invoke(app, [*command, "--probe", str(saved), "--force"])
    assert json.loads(again.stdout) == told


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "--probe FILE, or the prompts"),
        (["--probe", "p.safetensors", "--groups", "g.jsonl"], "--probe FILE, or the prompts"),
        (["--probe", "p.safetensors", "--save-probe", "q.safetensors"], "nothing to save"),
        (["--probe", "absent.safetensors"], "cannot be read"),
        (["--groups", "absent.jsonl"], "cannot be read"),
    ],
)
def test_the_command_refuses_what_it_cannot_use(data, options, says):
    result = CliRunner().invoke(app, ["select", data(), "-m", "phantom", "-p", "0.3", *options])
    assert isinstance(result.exception, (InputError, ArtefactError))
    assert result.exception.exit_code == 2
    assert says in str(result.exception)
