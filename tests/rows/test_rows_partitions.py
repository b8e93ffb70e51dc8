"""Folders of part files, and pieces: reading can begin again after each of them."""

from __future__ import annotations

import gzip
import json

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demur.errors import RunError
from demur.rows import Input, Rejected, RowReader, expand, find_inputs


def _rows(path):
    return [row.fields for file in find_inputs([str(path)]) for row in RowReader(file)]


def test_a_folder_is_its_part_files_and_the_names_of_its_folders_are_fields(tmp_path):
    for language, split, number in (("en", "a", 1), ("fr", "b%20c", 2), ("__HIVE_DEFAULT_PARTITION__", "a", 3)):
        folder = tmp_path / "data" / f"language={language}" / f"split={split}"
        folder.mkdir(parents=True)
        pl.DataFrame({"id": [number], "response": ["x"]}).write_parquet(folder / "part-0.parquet")
    (tmp_path / "data" / "_SUCCESS").touch()
    (tmp_path / "data" / ".part.parquet.crc").touch()
    (tmp_path / "data" / "notes.txt").touch()
    (tmp_path / "data" / "schema.json").write_text("{}")
    (tmp_path / "data" / "_delta_log").mkdir()
    (tmp_path / "data" / "_delta_log" / "0.jsonl").write_text("{}\n")
    expected = [
        {"id": 3, "response": "x", "language": None, "split": "a"},
        {"id": 1, "response": "x", "language": "en", "split": "a"},
        {"id": 2, "response": "x", "language": "fr", "split": "b c"},
    ]
    assert _rows(tmp_path / "data") == expected
    assert _rows(tmp_path / "data" / "language=*" / "*" / "*.parquet") == expected
    # a file that is named by itself has no partition
    (file,) = (tmp_path / "data" / "language=en").rglob("*.parquet")
    assert _rows(file) == [{"id": 1, "response": "x"}]


@pytest.mark.parametrize("name", ["p.jsonl", "p.csv", "p.jsonl.gz"])
def test_keys_are_added_to_rows_of_text_and_never_replace_a_field(tmp_path, name):
    data = b"response,day\nx,7\n" if ".csv" in name else b'{"response": "x", "day": "7"} \n'
    path = tmp_path / name
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    (row,) = RowReader(Input(str(path), {"day": "1", "month": "ü"}))
    assert row.fields == {"response": "x", "day": "7", "month": "ü"}
    if ".csv" not in name:
        assert json.loads(row.raw) == row.fields
        assert row.raw.startswith(b'{"response": "x", "day": "7"')


def test_files_whose_names_are_patterns_are_files(tmp_path):
    path = tmp_path / "a[1].jsonl"
    path.write_text("{}\n")
    assert expand([str(path)]) == [str(path)]


def _pieces(path, start=(0, 0), size=100):
    return [piece for piece in RowReader(str(path)).pieces(start, size=size) if piece is not None]


def _all(pieces):
    return [row for piece in pieces for row in piece.rows()]


@pytest.mark.parametrize("name", ["p.jsonl", "p.jsonl.gz", "u.jsonl", "p.csv", "p.csv.gz", "p.parquet"])
def test_reading_begins_again_after_any_piece(tmp_path, monkeypatch, name):
    monkeypatch.setattr("demur.rows.tables.PARQUET_ROWS", 3)
    path = tmp_path / name
    rows = [{"id": i, "response": f"answer {i}\u2028 é" * (1 + i % 5)} for i in range(40)]
    if name.endswith(".parquet"):
        pl.DataFrame(rows).write_parquet(path)
    else:
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
        if ".csv" in name:
            lines = ["id,response", *(f'{row["id"]},"{row["response"]}\n"' for row in rows)]
        lines[7:7] = ["", "no json, at, all"]
        data = "\n".join(lines).encode("utf-16" if name.startswith("u") else "utf-8-sig")
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    pieces = _pieces(path)
    assert len(pieces) > 5
    whole = _all(pieces)
    assert len(whole) == (40 if name.endswith(".parquet") else 41)
    assert whole == list(RowReader(str(path)))
    for number, piece in enumerate(pieces, 1):
        assert _all(_pieces(path, start=piece.end)) == _all(pieces[number:])


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from([b"{}", b'{"a": 1}', b"", b"x", b"\xff", b'{"a": "' + b"y" * 90 + b'"}'])),
    st.integers(1, 60),
)
def test_where_pieces_are_cut_changes_nothing(tmp_path_factory, lines, size):
    path = tmp_path_factory.getbasetemp() / "cut.jsonl"
    path.write_bytes(b"\n".join(lines))
    found = _all(_pieces(path, size=size))
    assert found == _all(_pieces(path, size=2**20))
    assert [row.line for row in found] == [number for number, line in enumerate(lines, 1) if line]
    for piece in _pieces(path, size=size):
        assert piece.end[0] == len(b"\n".join(lines[: piece.end[1]])) + 1 or piece.end[0] == path.stat().st_size


def test_a_file_that_became_shorter_cannot_be_taken_up_again(tmp_path):
    for name in ("p.jsonl", "p.jsonl.gz"):
        path = tmp_path / name
        path.write_bytes(gzip.compress(b"{}\n") if name.endswith(".gz") else b"{}\n")
        with pytest.raises(RunError, match="shorter"):
            _pieces(path, start=(400, 20))


def test_a_pipe_that_pauses_hands_on_what_has_come(tmp_path):
    import os
    import threading

    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    seen = threading.Event()

    def write():
        with pipe.open("wb", buffering=0) as stream:
            stream.write(b'{"a": 1}\n{"a": 2}\n{"a"')
            seen.wait(60)
            stream.write(b": 3}\n")

    writer = threading.Thread(target=write)
    writer.start()
    rows = []
    for piece in RowReader(str(pipe)).pieces():
        if piece is not None:
            rows.append([row.fields["a"] for row in piece.rows() if not isinstance(row, Rejected)])
            seen.set()
    writer.join()
    assert rows == [[1, 2], [3]]
