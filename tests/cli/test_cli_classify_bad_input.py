"""What people feed to `demur classify` by accident: set aside row by row, said plainly, the exit code as documented."""

from __future__ import annotations

import codecs
import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from demur.errors import IncompleteError, InputError
from demur.studies.classify import classify_files

ANSWER = "Sure! First sand the wood, then paint it in thin layers, and let it dry over night."
REFUSAL = "I'm sorry, but I can't help you with opening that window."


def _run(*arguments, **options):
    command = [sys.executable, "-c", "from demur.cli import main; main()", "classify", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, **options)


def _line(**fields):
    return (json.dumps(fields, ensure_ascii=False) + "\n").encode()


def _load(path):
    return [json.loads(line) for line in Path(path).read_text("utf-8").splitlines()]


def _classified(tmp_path, data, name="in.jsonl", out="out.jsonl", **options):
    """The judged rows, the rejected ones, and what was counted."""
    source, out = tmp_path / name, tmp_path / out
    source.write_bytes(data)
    count = classify_files([str(source)], str(out), **options)
    set_aside = Path(f"{out}.rejected.jsonl")
    return _load(out), _load(set_aside) if set_aside.exists() else [], count


def test_rows_of_ten_megabytes_are_judged(tmp_path):
    long = f"{REFUSAL} " + "It would not be right. " * 450_000
    rows, rejected, count = _classified(tmp_path, _line(response=long) + _line(response=ANSWER) + _line(response=long))
    assert [row["verdict"]["declined"] for row in rows] == [True, False, True]
    assert rows[0]["response"] == long
    assert (rejected, count.rows) == ([], 3)


def test_a_line_beyond_the_limit_is_set_aside_without_being_held(tmp_path, monkeypatch):
    monkeypatch.setattr("demur.rows.jsonl.LINE_LIMIT", 2**20)
    monkeypatch.setattr("demur.studies.classify.PIECE", 2**16)
    data = _line(response=ANSWER) + b'{"response": "' + b"x" * 2**23 + b'"}\n' + _line(response=REFUSAL)
    rows, rejected, _ = _classified(tmp_path, data)
    assert [row["verdict"]["declined"] for row in rows] == [False, True]
    assert [row["line"] for row in rejected] == [2]
    assert "longer than" in rejected[0]["why"]
    assert len(rejected[0]["raw"]) == 2_000


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (b'{"response": "a nul \x00 byte"}\n', "nul byte"),
        ('{"response": "Das möchte ich nicht."}\n'.encode("latin-1"), "not UTF-8 at byte 19"),
        (b'{"prompt": "q"}\n', "'response' is missing"),
        (b'{"response": ' + b'{"a":' * 2_000 + b"1" + b"}" * 2_001 + b"\n", "not usable JSON"),
        (b'{"response": "x", "n": ' + b"9" * 5_000 + b"}\n", "not usable JSON"),
        (b'{"response": 17}\n', "should be text, got int"),
        (b'{"response": NaN}\n', "should be text, got float"),
        (b'{"response": ["a"]}\n', "should be text, got list"),
        (b"null\n", "expected a JSON object"),
        (b'{"response": "cut in the mi', "the file ends in the middle of this row"),
    ],
)
def test_a_bad_row_is_set_aside_alone(tmp_path, bad, why):
    good = _line(id=1, response=ANSWER) + _line(id=2, response=REFUSAL)
    rows, rejected, count = _classified(tmp_path, good + bad)
    assert [row["id"] for row in rows] == [1, 2]
    assert [row["line"] for row in rejected] == [3]
    assert why in rejected[0]["why"]
    assert len(rejected[0]["raw"]) <= 2_000
    assert (count.rows, count.rejected) == (3, 1)


def test_reasons_are_counted_together_whatever_their_numbers(tmp_path):
    bad = b"".join(b'{"response": "' + b"x" * n + b'\xff"}\n' for n in range(300))
    _, rejected, count = _classified(tmp_path, _line(response=ANSWER) + bad)
    assert len(rejected) == 300
    assert count.reasons == {"not UTF-8 at byte N of the line": 300}


def test_what_json_allows_and_what_python_adds_comes_out_as_it_went_in(tmp_path):
    line = b'{"response":"Yes.","big":123456789012345678901234567890,"n":NaN,"x":1e999,"e":"\\ud83d","e":-Infinity}'
    rows, rejected, _ = _classified(tmp_path, line + b"\r\n")
    assert rejected == []
    assert (tmp_path / "out.jsonl").read_bytes().startswith(line[:-1] + b', "verdict": {"kind": ')
    assert rows[0]["big"] == 123456789012345678901234567890
    for name in ("o.csv", "o.parquet"):
        assert _classified_to(tmp_path, name) == 1


def _classified_to(tmp_path, name):
    return classify_files([str(tmp_path / "in.jsonl")], str(tmp_path / name)).rows


def test_rows_just_flat_enough_to_be_read_never_stop_the_run(tmp_path):
    deep = [b'{"response": "Yes.", "a": ' + b"[" * depth + b"]" * depth + b"}\n" for depth in range(900, 1_000, 4)]
    for name in ("o.jsonl", "o.csv", "o.parquet"):
        (tmp_path / "in.jsonl").write_bytes(b"".join(deep))
        count = classify_files([str(tmp_path / "in.jsonl")], str(tmp_path / name))
        assert count.rows == len(deep)
        assert count.rejected < len(deep)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("name", ["in.jsonl", "in.csv", "in.jsonl.gz"])
def test_files_in_utf_16_with_a_mark_are_read(tmp_path, encoding, name):
    texts = [ANSWER, "Je suis désolé, mais je ne peux pas vous aider. \U0001f642"]
    lines = ["response", *texts] if ".csv" in name else [json.dumps({"response": t}, ensure_ascii=False) for t in texts]
    if ".csv" in name:
        lines[1:] = [f'"{text}"' for text in texts]
    data = "\r\n".join(lines).encode(encoding)
    if encoding == "utf-16-be":
        data = codecs.BOM_UTF16_BE + data
    rows, rejected, _ = _classified(tmp_path, gzip.compress(data) if name.endswith(".gz") else data, name)
    assert [row["response"] for row in rows] == texts
    assert rejected == []


def test_utf_16_that_breaks_off_within_a_character_is_a_row_that_cannot_be_read(tmp_path):
    data = (_line(response=ANSWER) + _line(response=REFUSAL)).decode().encode("utf-16")
    rows, rejected, _ = _classified(tmp_path, data[:-5])
    assert len(rows) == 1
    assert [row["line"] for row in rejected] == [2]


def test_utf_16_without_a_mark_is_set_aside_and_not_misread(tmp_path):
    source = tmp_path / "in.jsonl"
    source.write_bytes(_line(response=ANSWER).decode().encode("utf-16-le") * 3)
    done = _run(source, "-o", tmp_path / "out.jsonl")
    assert done.returncode == 4
    assert "nul byte" in done.stderr or "not UTF-8" in done.stderr
    assert (tmp_path / "out.jsonl").read_bytes() == b""


def test_text_from_right_to_left_with_its_marks_is_kept(tmp_path):
    text = "\u202bعذرًا، لا أستطيع مساعدتك في ذلك.\u202c \u2067שלום\u2069 \u200f(1)\u200e"
    for name in ("out.jsonl", "out.csv", "out.parquet"):
        (tmp_path / "in.jsonl").write_bytes(_line(response=text))
        classify_files([str(tmp_path / "in.jsonl")], str(tmp_path / name))
    assert _load(tmp_path / "out.jsonl")[0]["response"] == text
    assert pl.read_csv(tmp_path / "out.csv")["response"].to_list() == [text]
    assert pl.read_parquet(tmp_path / "out.parquet")["response"].to_list() == [text]


def test_an_archive_cut_in_the_middle_keeps_what_came_before(tmp_path):
    whole = gzip.compress(b"".join(_line(id=i, response=f"{ANSWER} {i * 7919}") for i in range(2_000)))
    rows, rejected, count = _classified(tmp_path, whole[: len(whole) // 2], "in.jsonl.gz")
    assert len(rows) > 300
    assert [row["id"] for row in rows] == list(range(len(rows)))
    assert (rejected[0]["line"], count.rejected) == (len(rows) + 1, 1)
    assert "compressed file" in rejected[0]["why"]


def test_one_of_several_files_that_cannot_be_read_is_set_aside_whole(tmp_path):
    parts = tmp_path / "parts"
    parts.mkdir()
    pl.DataFrame({"response": [ANSWER] * 5}).write_parquet(parts / "a.parquet")
    whole = (parts / "a.parquet").read_bytes()
    (parts / "b.parquet").write_bytes(whole[: len(whole) // 2])
    (parts / "c.jsonl.gz").write_bytes(b"no archive")
    (parts / "d.parquet").write_bytes(whole)
    out = tmp_path / "out.jsonl"
    done = _run(parts, "-o", out)
    assert done.returncode == 4
    assert len(_load(out)) == 10
    rejected = _load(f"{out}.rejected.jsonl")
    assert [(Path(row["source"]).name, row["line"]) for row in rejected] == [("b.parquet", 0), ("c.jsonl.gz", 0)]
    # alone it is an error, and nothing is left behind
    done = _run(parts / "b.parquet", "-o", tmp_path / "alone.jsonl")
    assert done.returncode == 2
    assert "as Parquet" in done.stderr
    assert not (tmp_path / "alone.jsonl").exists()


@pytest.mark.parametrize("broken", ["a", "b", "d"])
def test_a_run_over_a_broken_file_is_resumed_without_repeating_it(tmp_path, broken):
    """The run is stopped after every piece, so once right after the broken file, wherever that stands."""
    (tmp_path / f"{broken}.parquet").write_bytes(b"no table")
    for name in {"a", "b", "c", "d"} - {broken}:
        (tmp_path / f"{name}.jsonl").write_bytes(_line(response=ANSWER) * 3)
    inputs, out = [str(tmp_path)], str(tmp_path / "out.jsonl")

    def stop(progress):
        raise KeyboardInterrupt

    for runs in range(4):
        with pytest.raises(IncompleteError, match="--resume"):
            classify_files(inputs, out, resume=runs > 0, on_progress=stop)
    count = classify_files(inputs, out, resume=True, on_progress=stop)
    assert (count.rows, count.rejected) == (10, 1)
    assert len(_load(out)) == 9
    assert len(_load(f"{out}.rejected.jsonl")) == 1


@pytest.mark.parametrize("data", [b"", b"\n\n  \n\t\n", codecs.BOM_UTF8])
@pytest.mark.parametrize("name", ["in.jsonl", "in.csv"])
def test_an_input_without_rows_gives_an_output_without_rows(tmp_path, data, name):
    source = tmp_path / name
    source.write_bytes(data)
    done = _run(source, "-o", tmp_path / "out.jsonl", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"] == 0
    assert "no rows" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == [name, "out.jsonl"]


def test_an_empty_archive_is_no_error(tmp_path):
    rows, rejected, _ = _classified(tmp_path, gzip.compress(b""), "in.jsonl.gz")
    assert rows == rejected == []


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (["empty"], "holds no file of rows"),
        (["nothing-*.jsonl"], "no file matches"),
        (["absent.jsonl"], "does not exist"),
        (["a.jsonl", "a.jsonl"], "is given twice"),
        (["*.jsonl", "link.jsonl"], "given twice"),
        (["-", "-"], "is given twice"),
        (["a.txt"], "does not tell the format"),
        (["a.jsonl", "out.jsonl"], "also an input"),
        (["a.jsonl", "hard.jsonl"], "also an input"),
    ],
)
def test_inputs_that_make_no_sense_are_errors_before_anything_is_written(tmp_path, inputs, message):
    (tmp_path / "empty").mkdir()
    for name in ("a.jsonl", "a.txt", "out.jsonl"):
        (tmp_path / name).write_bytes(_line(response=ANSWER))
    (tmp_path / "link.jsonl").symlink_to("a.jsonl")
    (tmp_path / "hard.jsonl").hardlink_to(tmp_path / "out.jsonl")
    given = [name if name == "-" else str(tmp_path / name) for name in inputs]
    with pytest.raises(InputError, match=message):
        classify_files(given, str(tmp_path / "out.jsonl"))
    assert (tmp_path / "out.jsonl").read_bytes() == _line(response=ANSWER)
    assert not (tmp_path / "out.jsonl.progress.json").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not read a file")
def test_a_file_that_may_not_be_read_is_named_before_the_first_row(tmp_path):
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_bytes(_line(response=ANSWER))
    tmp_path.chmod(0o755)
    (tmp_path / "b.jsonl").chmod(0)
    check = (
        "import os, sys\n"
        "from demur.rows import expand\n"
        "from demur.errors import InputError\n"
        "os.setuid(65534)\n"
        "try:\n    expand(sys.argv[1:])\nexcept InputError as error:\n    print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", check, "a.jsonl", "b.jsonl"], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert done.stdout.strip() == "cannot read b.jsonl: Permission denied"


def test_a_file_that_fails_while_it_is_read_is_an_error_and_no_crash(tmp_path):
    if not Path("/proc/self/mem").exists():
        pytest.skip("needs a file that opens and cannot be read")
    done = _run("/proc/self/mem", "--response-field", "x")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_long_fields_marks_line_ends_and_ragged_rows_in_csv(tmp_path):
    long = "word " * 100_000
    data = (
        f'\ufeffid,response\r\n1,"{long}"\r\n2,"a ""quoted"" word,\r\nand a line"\r\n3\r\n4,a,b\r\n\r\n5,"{ANSWER}"\r\n'
    )
    data += '6,"open'
    rows, rejected, count = _classified(tmp_path, data.encode(), "in.csv")
    assert [row["id"] for row in rows] == ["1", "2", "5"]
    assert rows[0]["response"] == long
    assert rows[1]["response"] == 'a "quoted" word,\r\nand a line'
    assert [row["line"] for row in rejected] == [5, 6, 9]
    assert count.rows == 6


def test_several_inputs_come_out_in_the_order_in_which_they_were_given(tmp_path):
    (tmp_path / "b.jsonl").write_bytes(_line(id="b", response=ANSWER))
    pl.DataFrame({"id": ["c"], "completion": [REFUSAL]}).write_parquet(tmp_path / "c.parquet")
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(f'id,answer\na,"{ANSWER}"\n'.encode()))
    done = _run(
        tmp_path / "b.jsonl",
        "-",
        tmp_path / "c.parquet",
        tmp_path / "a.csv.gz",
        input=_line(id="-", text="x").decode(),
    )
    assert done.returncode == 2
    assert "no field holds the response; - has the fields: id, text" in done.stderr
    done = _run(
        tmp_path / "b.jsonl", "-", tmp_path / "c.parquet", tmp_path / "a.csv.gz",
        input=_line(id="-", response="x").decode(),
    )  # fmt: skip
    assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == ["b", "-", "c", "a"]


def test_memory_does_not_grow_with_the_input(tmp_path):
    """Peaks of two runs over a pipe, the second over twelve megabytes more."""
    line = _line(response=ANSWER * 10)
    script = (
        "import resource, sys\n"
        "from demur.studies.classify import classify_files\n"
        "print(classify_files(['-'], sys.argv[1], workers=1).rows, "
        "resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peaks = []
    for copies in (2_000, 14_000):
        command = [sys.executable, "-c", script, str(tmp_path / f"{copies}.jsonl")]
        done = subprocess.run(command, input=line * copies, capture_output=True, timeout=300, check=True)
        rows, peak = map(int, done.stdout.split())
        assert rows == copies
        peaks.append(peak * (1 if sys.platform == "darwin" else 1024))
    assert peaks[1] - peaks[0] < 6 * 2**20
