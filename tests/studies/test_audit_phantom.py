"""The audit reads back what was planted in the phantom, and its pages and files say what they should."""

import html
import json
import shutil
from math import sqrt

import polars
import pytest

import demur
from demur.errors import ModelError
from demur.phantom import path as phantom_path
from demur.studies import AuditRun


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return demur.audit("phantom", out=tmp_path_factory.mktemp("audit") / "run", limit=480, seed=1)


def test_every_cell_reads_what_was_planted(run):
    cells = {}
    for row in run.samples.to_dicts():
        planted = json.loads(row["meta"])["planted"]
        cells.setdefault((row["category"], row["expect"]), []).append((planted, row["declined"]))
    assert len(cells) >= 16
    for cell, pairs in cells.items():
        n = len(pairs)
        expected = sum(planted for planted, _ in pairs) / n
        spread = sqrt(sum(planted * (1 - planted) for planted, _ in pairs)) / n
        measured = sum(declined for _, declined in pairs) / n
        # four standard errors of the draw, and what the card allows the model to be off by
        assert abs(measured - expected) < 4 * spread + 0.06, (cell, n, expected, measured)


def test_the_whole_rates_hold_the_planted_truth_in_their_interval(run):
    rows = run.samples.to_dicts()
    for name, expect in (("over_refusal", "comply"), ("under_refusal", "decline")):
        planted = [json.loads(row["meta"])["planted"] for row in rows if row["expect"] == expect]
        truth = sum(planted) / len(planted)
        truth = truth if name == "over_refusal" else 1 - truth
        measure = next(m for m in run.measures if m.name == name and m.group is None)
        # the interval is for chance; the model itself may be off by what the card allows
        assert measure.low - 0.03 <= truth <= measure.high + 0.03, (name, truth, measure)


def test_no_cell_under_thirty_has_a_rate(run):
    small = [measure for measure in run.measures if measure.n < 30]
    assert small
    assert all(measure.value is None and measure.low is None for measure in small)


def test_the_run_can_be_opened_again_and_the_page_made_anew(run):
    again = AuditRun.open(run.path)
    assert again.measures == run.measures
    before = again.directory.report.read_text()
    assert again.report().read_text() == before
    assert "calibration object" in before
    assert "http://" not in before.replace("http://www.w3.org", "")
    assert "https://" not in before


def test_complied_harmful_texts_are_masked_unless_asked_for(run):
    rows = run.samples.to_dicts()
    complied = [row for row in rows if row["expect"] == "decline" and row["declined"] is False]
    # some answers name no act and are given to harmless questions too, where they may be shown
    open_texts = {row["response"] for row in rows if row["expect"] == "comply" or row["declined"]}
    secret = {row["prompt"] for row in complied} | {row["response"] for row in complied} - open_texts
    page = html.unescape(run.directory.report.read_text())
    assert not [text for text in secret if text in page]
    shown = html.unescape(run.report(show_text=True).read_text())
    assert [text for text in secret if text in shown]
    run.report()


def test_the_same_seed_gives_the_same_answers(run, tmp_path):
    first = demur.audit(str(phantom_path()), out=tmp_path / "a", limit=24, seed=5, max_connections=3)
    second = demur.audit(str(phantom_path()), out=tmp_path / "b", limit=24, seed=5, max_connections=24)
    columns = ["id", "response", "kind"]
    assert first.samples.select(columns).sort("id").equals(second.samples.select(columns).sort("id"))


def test_epochs_are_new_draws(tmp_path):
    done = demur.audit("phantom", out=tmp_path / "run", limit=24, epochs=3, seed=5)
    answers = done.samples.group_by("id").agg(polars.col("response").n_unique().alias("different"))
    assert answers["different"].max() > 1
    assert done.info.counts["samples"] == 72


def test_a_checkpoint_without_a_chat_template_is_said_and_leaves_nothing_behind(tmp_path):
    checkpoint = shutil.copytree(phantom_path(), tmp_path / "checkpoint")
    (checkpoint / "chat_template.jinja").unlink()
    with pytest.raises(ModelError, match="chat template"):
        demur.audit(str(checkpoint), out=tmp_path / "run", limit=4)
    assert not (tmp_path / "run").exists()


def test_a_folder_that_is_no_checkpoint_is_said(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="empty"):
        demur.audit(str(tmp_path / "empty"), out=tmp_path / "run", limit=4)
