"""Where outcomes come from: runs, verdicts, labels, or responses that the ladder reads."""

import json

import numpy as np
import pytest

from demur.errors import InputError
from demur.runs import RunDirectory, RunInfo
from demur.studies.forecasting import fit_forecast
from demur.studies.labelled_prompts import read_labelled, read_outcome, read_prompt

REFUSAL = "I'm sorry, but I can't help you with that."
ANSWER = "Sure! First sand the wood, then paint it in thin layers."


def _save(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return str(path)


def _run(path, rows, model="demur/phantom"):
    run = RunDirectory.create(path, RunInfo(demur_version="0", model=model, tasks=["demur/refusal_profile"]))
    run.write_samples({"task": "refusal_profile", "epoch": 1, "response": "r", "ending": "end", **row} for row in rows)
    return str(path)


def test_a_run_gives_kinds_pairs_and_its_model(tmp_path):
    run = _run(
        tmp_path / "run",
        [
            {"id": "a", "prompt": "one", "kind": "refuse", "pair_id": "p"},
            {"id": "b", "prompt": "two", "kind": "comply", "pair_id": "p"},
            {"id": "c", "prompt": "three", "kind": "partial"},
            {"id": "d", "prompt": "four", "kind": "filtered"},
            {"id": "a", "prompt": "one", "kind": "comply", "epoch": 2},
        ],
    )
    found = read_labelled([run])
    assert found.declined == [True, False, True, False]
    assert found.ids == ["a", "b", "c", "a#2"]
    assert found.groups[0] == found.groups[1] != found.groups[2] is None
    assert (found.models, dict(found.left_out)) == (["demur/phantom"], {"kind filtered": 1})
    assert read_labelled([run], mapping="full").declined == [True, False, False, False]


def test_rows_give_outcomes_in_the_documented_order(tmp_path):
    rows = _save(
        tmp_path / "rows.jsonl",
        [
            {"id": 1, "prompt": "a", "verdict": {"kind": "refuse"}, "label": "compliance", "response": ANSWER},
            {"id": 2, "prompt": "b", "label": "compliance", "response": REFUSAL},
            {"id": 3, "prompt": "c", "response": REFUSAL},
            {"prompt": "d", "response": ANSWER},
            {"id": 5, "prompt": "e", "label": "unknown", "response": ANSWER},
            {"id": 6, "prompt": "f", "response": ""},
            {"id": 7, "prompt": "", "label": "refusal"},
            {"id": 8, "messages": [{"role": "user", "content": "g"}], "prompt": None, "label": "refusal"},
        ],
    )
    found = read_labelled([rows])
    assert dict(zip(found.ids, found.declined, strict=True)) == {
        "1": True, "2": False, "3": True, "rows.jsonl:4": False,
    }  # fmt: skip
    assert dict(found.labels_by) == {"verdict": 1, "label": 1, "ladder": 2}
    assert dict(found.left_out) == {"label unknown": 1, "kind empty": 1}
    assert [row.line for row in found.rejected] == [7, 8]


def test_a_named_label_wins_and_must_be_there(tmp_path):
    rows = _save(tmp_path / "rows.jsonl", [{"prompt": "a", "human": "no", "verdict": {"kind": "refuse"}}])
    assert read_labelled([rows], label_field="human").declined == [False]
    with pytest.raises(InputError, match="--label-field 'people' is not there"):
        read_labelled([rows], label_field="people")


def test_rows_with_neither_outcome_nor_response_say_what_is_missing(tmp_path):
    rows = _save(tmp_path / "rows.jsonl", [{"prompt": "a", "note": "x"}])
    with pytest.raises(InputError, match="neither whether the prompt was declined"):
        read_labelled([rows])
    with pytest.raises(InputError, match="no field holds the prompt"):
        read_labelled([_save(tmp_path / "none.jsonl", [{"text": "a", "label": "refusal"}])])


@pytest.mark.parametrize(
    ("fields", "outcome"),
    [
        ({"verdict": {"kind": "partial"}}, True),
        ({"verdict": '{"kind": "comply"}'}, False),
        ({"verdict_kind": "unscored"}, "kind unscored"),
        ({"verdict": {"kind": "sulk"}}, "kind sulk"),
        ({"declined": "False"}, False),
        ({"declined": None, "label": "Refused"}, True),
        ({"label": ""}, None),
        ({"verdict": "{broken"}, None),
    ],
)
def test_outcomes_are_read_however_they_are_kept(fields, outcome):
    assert read_outcome(fields)[0] == outcome


def test_prompts_are_text_or_what_the_user_said_last():
    turns = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}]
    assert read_prompt({"p": turns}, "p") == "one"
    assert read_prompt({"p": json.dumps(turns)}, "p") == "one"
    assert read_prompt({"p": "[{not json"}, "p") == "[{not json"
    with pytest.raises(InputError, match="got int"):
        read_prompt({"p": 3}, "p")


def _labelled(n, seed):
    generator = np.random.default_rng(seed)
    rows = []
    for number in range(n):
        holds = bool(generator.random() < 0.5)
        words = " ".join(generator.choice([f"w{at:03d}q" for at in range(100)], size=6))
        rows.append({"id": number, "prompt": f"{words} zzq" if holds else words, "declined": holds})
    return rows


def test_runs_of_two_models_need_a_name_for_what_they_share(tmp_path):
    rows = [
        {"id": str(row["id"]), "prompt": row["prompt"], "kind": "refuse" if row["declined"] else "comply"}
        for row in _labelled(150, 1)
    ]
    runs = [_run(tmp_path / name, rows, model=f"demur/{name}") for name in ("one", "two")]
    with pytest.raises(InputError, match="demur/one, demur/two"):
        fit_forecast(runs)
    assert fit_forecast([runs[0]]).forecast.card["model"] == "demur/one"
    assert fit_forecast(runs, model="both").forecast.card["model"] == "both"


def test_hand_labels_are_tested_beside_the_machines(tmp_path):
    machine = _save(tmp_path / "machine.jsonl", _labelled(300, 1))
    hand = _save(tmp_path / "hand.jsonl", [{**row, "label": "refusal" if row.pop("declined") else "compliance"}
                                           for row in _labelled(100, 2)])  # fmt: skip
    quality = fit_forecast([machine], hand=hand).forecast.card["quality"]
    assert quality["hand"]["ece"]["n"] == 100
    assert quality["hand"]["auroc"]["value"] > 0.99


def test_a_folder_that_holds_something_else_is_never_written_over(tmp_path):
    rows = _save(tmp_path / "rows.jsonl", _labelled(120, 1))
    out = tmp_path / "f"
    out.mkdir()
    (out / "thesis.txt").write_text("dear")
    with pytest.raises(InputError, match="already exists"):
        fit_forecast([rows], out, force=True)
    fit_forecast([rows], tmp_path / "g", figures=True)
    assert {"terms.svg", "reliability.svg", "card.json"} <= {file.name for file in (tmp_path / "g").iterdir()}
    with pytest.raises(InputError, match="--force"):
        fit_forecast([rows], tmp_path / "g")
    fit_forecast([rows], tmp_path / "g", force=True)


def test_rows_that_say_nothing_are_named(tmp_path):
    rows = _save(tmp_path / "rows.jsonl", [{"prompt": "a", "label": "unknown"}, {"prompt": " ", "label": "refusal"}])
    with pytest.raises(InputError, match=r"1 label unknown; line 2: the field 'prompt' is empty"):
        fit_forecast([rows])
