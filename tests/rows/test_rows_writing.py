"""Sinks: what is written can be read back, and a sink reopened at a position forgets what came after it."""

from __future__ import annotations

import csv
import io
import json

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demur.errors import InputError, RunError
from demur.rows import Row, RowReader, open_sink
from demur.rows.forms import Csv

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
    sink.clean()
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


def _through(path, *batches):
    sink = open_sink(str(path))
    for batch in batches:
        sink.write(batch)
    sink.close()
    return [row.fields for row in RowReader(str(path))]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({"a": 1}, "plain", ['{"a": 1}', "plain"]),
        ([1, "é"], "plain", ['[1, "é"]', "plain"]),
        ({"a": 1}, {"b": [2]}, ['{"a": 1}', '{"b": [2]}']),
        ("half \ud83d pair", "whole", ["half \\ud83d pair", "whole"]),
        (1, "one", ["1", "one"]),
        (True, 2, ["true", "2"]),
        (2, 0.5, [2.0, 0.5]),
        (2**53 + 1, 0.5, [str(2**53 + 1), "0.5"]),
        (2**70, 1, [str(2**70), "1"]),
        (b"\xff", "text", ["ff", "text"]),
        (None, {"a": None}, [None, '{"a": null}']),
    ],
)
def test_parquet_loses_nothing_of_mixed_values(tmp_path, first, second, expected):
    together = _through(tmp_path / "one.parquet", [{"x": first}, {"x": second}])
    apart = _through(tmp_path / "two.parquet", [{"x": first}], [{"x": None}, {"y": 1}], [{"x": second}])
    assert [row["x"] for row in together] == expected
    assert [row["x"] for row in apart] == [expected[0], None, None, expected[1]]


def test_a_verdict_stays_a_struct_in_parquet_whatever_is_null_in_a_part(tmp_path):
    verdicts = [{"kind": "comply", "onset": None}, {"kind": "refuse", "onset": 3}]
    rows = _through(tmp_path / "o.parquet", *[[{"verdict": verdict}] for verdict in verdicts])
    assert [row["verdict"] for row in rows] == verdicts


def test_a_parquet_output_can_be_opened_again_until_it_is_cleaned(tmp_path):
    path = tmp_path / "o.parquet"
    first = open_sink(str(path))
    first.write(_rows(0, 5))
    position = first.position()
    first.close()
    second = open_sink(str(path), position=position)
    second.write(_rows(5, 7))
    second.close()
    second.clean()
    assert [row.fields for row in RowReader(str(path))] == _rows(0, 7)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


_CELLS = (
    st.text(st.sampled_from("ab ,;\"'\r\n\té\u2028"), max_size=6)
    | st.none()
    | st.booleans()
    | st.floats()
    | st.integers()
)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 3).flatmap(lambda n: st.lists(st.lists(_CELLS, min_size=n, max_size=n), min_size=1)))
@pytest.mark.parametrize("delimiter", [",", "\t"])
def test_csv_lines_are_those_of_the_standard_library(delimiter, table):
    rows = [{f"column {i}": cell for i, cell in enumerate(cells)} for cells in table]
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter)
    writer.writerow(rows[0])
    for row in rows:
        writer.writerow([str(cell).lower() if isinstance(cell, bool) else cell for cell in row.values()])
    assert Csv(delimiter=delimiter).encode(rows).decode() == out.getvalue()
