"""Sinks: what is written can be read back, and a sink reopened at a position forgets what came after it."""

from __future__ import annotations

import json

import polars as pl
import pytest

from demur.errors import InputError, RunError
from demur.rows import Row, RowReader, open_sink

NAMES = ["o.jsonl", "o.jsonl.gz", "o.csv", "o.csv.gz", "o.tsv", "o.parquet"]


def _rows(low, high):
    return [{"id": str(i), "response": f'text "{i}", ünïcode\nline'} for i in range(low, high)]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_can_be_read_back(tmp_path, name):
    path = str(tmp_path / name)
    sink = open_sink(path)
    sink.write(_rows(0, 10))
    sink.write([])
    sink.write(_rows(10, 25))
    sink.close()
    assert [row.fields for row in RowReader(path)] == _rows(0, 25)
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", NAMES)
def test_reopening_at_a_position_cuts_what_came_after(tmp_path, name):
    path = str(tmp_path / name)
    first = open_sink(path)
    first.write(_rows(0, 10))
    position = json.loads(json.dumps(first.position()))
    first.write(_rows(10, 99))
    first.abandon()
    second = open_sink(path, position=position)
    second.write(_rows(10, 20))
    second.close()
    assert [row.fields for row in RowReader(path)] == _rows(0, 20)


@pytest.mark.parametrize("name", ["o.jsonl", "o.parquet"])
def test_an_output_that_lost_its_beginning_cannot_be_resumed(tmp_path, name):
    path = str(tmp_path / name)
    sink = open_sink(path)
    sink.write(_rows(0, 10))
    position = sink.position()
    sink.abandon()
    for file in tmp_path.rglob("*"):
        if file.is_file():
            file.unlink()
    with pytest.raises(RunError, match="--force"):
        open_sink(path, position=position)


def test_verdicts_are_flattened_in_csv_only(tmp_path):
    row = {"response": "a", "tags": ["x", "y"], "verdict": {"kind": "comply", "declined": False, "reason": None}}
    for name in ("o.csv", "o.jsonl"):
        sink = open_sink(str(tmp_path / name))
        sink.write([row])
        sink.close()
    (flat,) = RowReader(str(tmp_path / "o.csv"))
    assert flat.fields == {
        "response": "a",
        "tags": '["x", "y"]',
        "verdict_kind": "comply",
        "verdict_declined": "false",
        "verdict_reason": "",
    }
    (nested,) = RowReader(str(tmp_path / "o.jsonl"))
    assert nested.fields == row


def test_a_csv_header_cannot_grow(tmp_path):
    sink = open_sink(str(tmp_path / "o.csv"))
    sink.write([{"a": 1}])
    sink.write([{}])
    with pytest.raises(InputError, match=r"fields b.*jsonl"):
        sink.write([{"a": 1, "b": 2}])
    sink.abandon()


def test_half_a_surrogate_pair_survives(tmp_path):
    path = str(tmp_path / "o.jsonl")
    sink = open_sink(path)
    sink.write([{"response": "\ud83d alone"}, {"response": "ü"}])
    sink.close()
    assert [row.fields["response"] for row in RowReader(path)] == ["\ud83d alone", "ü"]


def test_parquet_takes_rows_whose_types_differ(tmp_path):
    path = str(tmp_path / "o.parquet")
    sink = open_sink(path)
    sink.write([{"id": 1, "more": {"x": 1}}])
    sink.write([{"id": 2, "extra": "late"}])
    sink.close()
    rows = [row.fields for row in RowReader(path) if isinstance(row, Row)]
    assert [row["id"] for row in rows] == [1, 2]
    assert rows[1]["extra"] == "late"
    assert pl.read_parquet(path).height == 2


def test_empty_outputs_are_readable(tmp_path):
    for name in ("o.jsonl", "o.jsonl.gz", "o.parquet"):
        open_sink(str(tmp_path / name)).close()
        assert list(RowReader(str(tmp_path / name))) == []


def test_unknown_formats_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"\.jsonl"):
        open_sink(str(tmp_path / "o.xlsx"))
