import json

import pytest

from demur.errors import RunError
from demur.records import Measure
from demur.runs import SAMPLE_COLUMNS, SCHEMA_VERSION, RunDirectory, RunInfo


def info(**fields):
    return RunInfo(demur_version="0", model="mockllm/model", tasks=["demur/refusal_profile"], **fields)


@pytest.mark.parametrize("name", ["run", "[bold] run*", "ünïcode?"])
def test_what_is_written_is_read_back(tmp_path, name):
    run = RunDirectory.create(tmp_path / name, info(settings={"seed": 3}))
    measure = Measure(
        task="t", name="over_refusal", group="category=theft", value=0.5, low=0.4, high=0.6, n=90, method="wilson"
    )
    run.write_measures([measure])
    run.write_samples(
        [{"task": "t", "id": "1", "epoch": 1, "kind": "refuse", "declined": True, "response": "No. \x00 \u202e"}]
    )
    again = RunDirectory.open(tmp_path / name)
    assert again.info == run.info
    assert again.read_measures() == [measure]
    table = again.read_samples()
    assert table.columns == list(SAMPLE_COLUMNS)
    assert table.to_dicts()[0]["response"] == "No. \x00 \u202e"
    assert table.to_dicts()[0]["onset"] is None


def test_a_directory_in_use_is_not_overwritten(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(RunError, match="--resume"):
        RunDirectory.create(tmp_path, info())
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_a_newer_run_is_refused_with_what_to_do(tmp_path):
    run = RunDirectory.create(tmp_path / "run", info())
    raw = json.loads((run.path / "run.json").read_text())
    (run.path / "run.json").write_text(json.dumps(raw | {"schema_version": SCHEMA_VERSION + 1}))
    with pytest.raises(RunError, match="upgrade demur"):
        RunDirectory.open(run.path)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"model": "x"}', '{"schema_version": 1}'])
def test_a_damaged_run_is_a_clear_error(tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(RunError, match=r"run\.json"):
        RunDirectory.open(tmp_path)


def test_a_folder_that_is_no_run_is_a_clear_error(tmp_path):
    with pytest.raises(RunError, match="not a run directory"):
        RunDirectory.open(tmp_path)


def test_a_run_without_results_says_how_to_finish_it(tmp_path):
    run = RunDirectory.create(tmp_path / "run", info())
    with pytest.raises(RunError, match="--resume"):
        run.read_measures()
    with pytest.raises(RunError, match="--resume"):
        run.read_samples()


def test_unknown_columns_are_refused(tmp_path):
    run = RunDirectory.create(tmp_path / "run", info())
    with pytest.raises(RunError, match="colour"):
        run.write_samples([{"task": "t", "colour": "red"}])


def test_a_table_that_is_none_is_a_clear_error(tmp_path):
    run = RunDirectory.create(tmp_path / "run", info())
    run.samples_file.write_bytes(b"PAR1 but not really")
    with pytest.raises(RunError, match="cannot be read"):
        run.read_samples()
