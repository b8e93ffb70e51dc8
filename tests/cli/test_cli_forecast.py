"""`demur forecast` as a user runs it: real files, real processes."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest


def _run(*arguments, **options):
    command = [sys.executable, "-c", "from demur.cli import main; main()", "forecast", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, **options)


def _rows(n, seed):
    generator = np.random.default_rng(seed)
    rows = []
    for number in range(n):
        holds = bool(generator.random() < 0.4)
        words = " ".join(generator.choice([f"w{at:03d}q" for at in range(100)], size=6))
        flipped = bool(generator.random() < 0.05)
        label = "refusal" if holds != flipped else "compliance"
        rows.append({"id": f"r{number}", "prompt": f"{words} zzq" if holds else words, "label": label, "extra": number})
    return rows


def _save(path, rows):
    path.write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def _load(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("forecast")
    rows = _save(folder / "train.jsonl", _rows(300, 1))
    done = _run("fit", rows, "-o", folder / "f", "--model", "openai/some", "--keep-text", "--json")
    assert done.returncode == 0, done.stderr
    return folder / "f", json.loads(done.stdout)


@pytest.fixture(scope="module")
def lean(tmp_path_factory):
    """A forecast that keeps no texts, of rows one of which cannot be read, and what was said about it."""
    folder = tmp_path_factory.mktemp("lean")
    rows = _save(folder / "t.jsonl", [*_rows(200, 1), "not json\n"])
    return folder / "f", _run("fit", rows, "-o", folder / "f")


def test_fit_prints_one_object_with_base_rate_and_both_kinds_of_folds(fitted):
    folder, said = fitted
    assert said["out"] == str(folder)
    assert said["model"] == "openai/some"
    assert said["labels_by"] == {"label": 300}
    quality = said["quality"]
    assert quality["majority"]["answer"] == "complied"
    for folds in ("grouped", "random"):
        for name in ("accuracy", "balanced_accuracy", "auroc", "brier"):
            row = quality[folds][name]
            assert row["low"] <= row["value"] <= row["high"]
            assert row["n"] == 300
    assert quality["grouped"]["auroc"]["value"] > 0.9


def test_fit_tells_people_what_to_believe_and_sets_unreadable_rows_aside(lean):
    _, done = lean
    assert (done.returncode, done.stdout) == (4, "")
    assert "line 201" in done.stderr
    assert "1 rows could not be read" in done.stderr
    for words in ("templates held out", "single prompts held out", "Always answering 'complied'", "balanced accuracy"):
        assert words in done.stderr


def test_predict_keeps_rows_and_order_and_explains(fitted, tmp_path):
    rows = _rows(700, 2)
    out = tmp_path / "out.jsonl"
    done = _run("predict", _save(tmp_path / "in.jsonl", rows), "-f", fitted[0], "-o", out, "--explain", "--json")
    assert done.returncode == 0, done.stderr
    got, said = _load(out), json.loads(done.stdout)
    assert [{key: row[key] for key in rows[0]} for row in got] == rows
    assert all(row["forecast"]["declines"] == ("zzq" in row["prompt"]) for row in got)
    first = next(row for row in got if "zzq" in row["prompt"])["forecast"]
    assert first["moved"][0]["name"] == "zzq"
    assert {"id", "declined", "similarity"} == set(first["nearest"][0])
    assert said["agreement"]["balanced_accuracy"]["value"] > 0.9
    assert said["called_declined"] == sum("zzq" in row["prompt"] for row in rows)
    assert not (tmp_path / "out.jsonl.rejected.jsonl").exists()


def test_texts_of_neighbours_are_shown_only_on_request(fitted, lean, tmp_path):
    rows = _save(tmp_path / "in.jsonl", _rows(3, 2))
    shown = _run("predict", rows, "-f", fitted[0], "--show-text")
    assert json.loads(shown.stdout.splitlines()[0])["forecast"]["nearest"][0]["text"]
    refused = _run("predict", rows, "-f", lean[0], "--show-text")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "--keep-text" in refused.stderr


def test_rows_that_cannot_be_read_are_set_aside(fitted, tmp_path):
    rows = [*_rows(2, 2), "not json\n", {"id": "x", "prompt": 7}, {"id": "y"}, *_rows(1, 3)]
    out = tmp_path / "out.jsonl"
    done = _run("predict", _save(tmp_path / "in.jsonl", rows), "-f", fitted[0], "-o", out)
    assert done.returncode == 4
    assert len(_load(out)) == 3
    assert [row["line"] for row in _load(tmp_path / "out.jsonl.rejected.jsonl")] == [3, 4, 5]
    assert "3 of 6 rows could not be read" in done.stderr


def test_csv_gets_flat_columns_and_stdin_is_read(fitted, tmp_path):
    out = tmp_path / "out.csv"
    given = "".join(json.dumps(row) + "\n" for row in _rows(5, 2))
    done = _run("predict", "-", "-f", fitted[0], "-o", out, input=given)
    assert done.returncode == 0, done.stderr
    with out.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 5
    assert 0 < float(rows[0]["forecast_probability"]) < 1


def test_outputs_and_inputs_are_not_written_over(fitted, tmp_path):
    rows = _save(tmp_path / "in.jsonl", _rows(3, 2))
    assert _run("predict", rows, "-f", fitted[0], "-o", rows, "--force").returncode == 2
    out = _save(tmp_path / "out.jsonl", [{"mine": 1}])
    assert _run("predict", rows, "-f", fitted[0], "-o", out).returncode == 2
    assert _load(out) == [{"mine": 1}]
    assert _run("predict", rows, "-f", fitted[0], "-o", out, "--force").returncode == 0
    assert len(_load(out)) == 3


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([{"prompt": f"p{n}", "label": "refusal"} for n in range(50)], "none of the 50 prompts was complied with"),
        (_rows(20, 1), "expected at least 20"),
        ([{"prompt": "p"}], "neither whether the prompt was declined"),
    ],
)
def test_what_cannot_be_learned_from_is_an_error_that_leaves_nothing(tmp_path, rows, says):
    done = _run("fit", _save(tmp_path / "t.jsonl", rows), "-o", tmp_path / "f")
    assert done.returncode == 2
    assert says in done.stderr
    assert not (tmp_path / "f").exists()


def test_a_forecast_of_another_model_or_none_is_an_error(fitted, tmp_path):
    rows = _save(tmp_path / "in.jsonl", _rows(3, 2))
    wrong = _run("predict", rows, "-f", fitted[0], "--model", "openai/other")
    assert wrong.returncode == 2
    assert "openai/some" in wrong.stderr
    missing = _run("predict", rows, "-f", tmp_path / "nowhere", "-o", tmp_path / "out.jsonl")
    assert missing.returncode == 2
    assert "demur forecast fit" in missing.stderr
    assert not (tmp_path / "out.jsonl").exists()
