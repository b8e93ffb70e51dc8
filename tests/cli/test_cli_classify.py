"""`demur classify` as a user runs it: real files, real processes, real signals."""

from __future__ import annotations

import csv
import gzip
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from demur.errors import IncompleteError, InputError
from demur.rows import RowReader
from demur.studies.classify import classify_files

VERDICT = {"kind", "reason", "declined", "mapping", "onset", "probability", "decided_by"}
REFUSAL = "I'm sorry, but I can't help you with opening that window."
ANSWER = "Sure! First sand the wood, then paint it in thin layers, and let it dry over night."


def _command(*arguments):
    return [sys.executable, "-c", "from demur.cli import main; main()", "classify", *map(str, arguments)]


def _run(*arguments, **options):
    return subprocess.run(_command(*arguments), capture_output=True, text=True, timeout=300, check=False, **options)


def _rows(n):
    return [
        {
            "id": i,
            "prompt": f"p{i}",
            "response": REFUSAL if i % 3 == 0 else ANSWER,
            "label": "refusal" if i % 3 == 0 else "compliance",
        }
        for i in range(n)
    ]


def _save(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def _load(path):
    return [json.loads(line) for line in Path(path).read_text("utf-8").splitlines()]


def test_rows_come_back_in_order_with_every_field_and_a_verdict(tmp_path):
    rows = [{**row, "verdict": "mine", "extra": [1, {"a": None}]} for row in _rows(7)]
    done = _run(_save(tmp_path / "in.jsonl", rows))
    assert done.returncode == 0, done.stderr
    out = [json.loads(line) for line in done.stdout.splitlines()]
    for before, after in zip(rows, out, strict=True):
        verdict = after.pop("verdict")
        assert set(verdict) == VERDICT
        assert verdict["declined"] is (before["label"] == "refusal")
        assert after.pop("verdict_before") == before.pop("verdict")
        assert after == before


def test_summary_as_json_is_alone_on_stdout_and_counts_right(tmp_path):
    done = _run(_save(tmp_path / "in.jsonl", _rows(90)), "-o", tmp_path / "out.jsonl", "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["rows"] == 90
    assert summary["declined"]["count"] == 30
    assert summary["declined"]["low"] < 1 / 3 < summary["declined"]["high"]
    agreement = summary["agreement"]
    assert (agreement["n"], agreement["accuracy"]["value"], agreement["balanced_accuracy"], agreement["kappa"]) == (
        90,
        1.0,
        1.0,
        1.0,
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]


def test_summary_for_people_goes_to_stderr(tmp_path):
    done = _run(_save(tmp_path / "in.jsonl", _rows(90)), "--summary")
    assert len(done.stdout.splitlines()) == 90
    assert "declined (mapping any)" in done.stderr
    assert "kappa 1.000" in done.stderr
    few = _run(_save(tmp_path / "few.jsonl", _rows(9)), "--summary")
    assert "too few (9)" in few.stderr
    assert "accuracy too few (9)" in few.stderr
    assert "kappa" not in few.stderr


def test_unjudged_rows_are_no_part_of_a_rate(tmp_path):
    rows = [
        {"response": REFUSAL},
        {"response": ""},
        {"response": "", "error": "timeout"},
        {"response": "", "finish_reason": "content_filter"},
    ]
    done = _run(_save(tmp_path / "in.jsonl", rows), "-o", tmp_path / "o.jsonl", "--json")
    summary = json.loads(done.stdout)
    assert summary["excluded"] == {"filtered": 1, "empty": 1, "unscored": 1}
    assert summary["declined"]["n"] == 1
    assert [row["verdict"]["declined"] for row in _load(tmp_path / "o.jsonl")] == [True, None, None, None]


def test_unreadable_rows_are_set_aside_with_exit_code_4(tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_bytes(
        b'{"response": "Sure, here you go."}\nnot json\n{"other": 1}\n{"response": 5}\n{"response": "No\xff"}\n'
        b'{"response": "Yes."}\n{"resp'
    )
    done = _run(path, "-o", tmp_path / "out.jsonl")
    assert done.returncode == 4
    assert "5 of 7 rows could not be read" in done.stderr
    assert [row["response"] for row in _load(tmp_path / "out.jsonl")] == ["Sure, here you go.", "Yes."]
    rejected = _load(tmp_path / "out.jsonl.rejected.jsonl")
    assert [row["line"] for row in rejected] == [2, 3, 4, 5, 7]
    assert all(row["why"] for row in rejected)
    assert _run(path).returncode == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{in}", "--response-field", "nope"], "id, prompt, response, label"),
        (["{in}", "--mapping", "nope"], "unknown mapping"),
        (["absent.jsonl"], "does not exist"),
        (["{in}", "-o", "{in}"], "also an input"),
        (["{in}", "-o", "{dir}/o.doc"], "format"),
        (["{in}", "--json"], "--json needs -o"),
        (["{in}", "--resume"], "--resume needs -o"),
        (["{in}", "-o", "{dir}/there.jsonl"], "exists"),
        (["{in}", "-o", "{dir}/there.jsonl", "--resume"], "nothing to resume"),
    ],
)
def test_usage_errors_say_what_to_do_and_exit_2(tmp_path, arguments, message):
    path = _save(tmp_path / "in.jsonl", _rows(2))
    (tmp_path / "there.jsonl").write_text("precious\n")
    done = _run(*(a.replace("{in}", str(path)).replace("{dir}", str(tmp_path)) for a in arguments))
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "there.jsonl").read_text() == "precious\n"
    assert _load(path) == _rows(2)


def test_fields_can_be_named(tmp_path):
    path = _save(tmp_path / "in.jsonl", [{"frage": "q", "antwort": REFUSAL}])
    done = _run(path, "--prompt-field", "frage", "--response-field", "antwort")
    assert json.loads(done.stdout)["verdict"]["kind"] == "refuse"


def test_mappings_read_the_same_verdict_differently(tmp_path):
    path = _save(
        tmp_path / "in.jsonl", [{"response": "Could you tell me which city you mean? I need more details first."}]
    )
    declined = [json.loads(_run(path, "--mapping", name).stdout)["verdict"]["declined"] for name in ("any", "full")]
    assert declined == [True, False]


def test_formats_in_and_out(tmp_path):
    source = _save(tmp_path / "in.jsonl", _rows(12))
    formats = ["o.csv", "o.parquet", "o.jsonl.gz"]
    previous = source
    for name in formats:
        done = _run(previous, "-o", tmp_path / name)
        assert done.returncode == 0, done.stderr
        previous = tmp_path / name
    with (tmp_path / "o.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["verdict_declined"] for row in rows] == ["true" if i % 3 == 0 else "false" for i in range(12)]
    assert set(rows[0]) == {"id", "prompt", "response", "label", *(f"verdict_{name}" for name in VERDICT)}
    frame = pl.read_parquet(tmp_path / "o.parquet")
    assert frame["verdict_before_kind"].to_list() == [row["verdict_kind"] for row in rows]
    assert frame["verdict"].struct.field("declined").to_list() == [i % 3 == 0 for i in range(12)]
    last = [json.loads(line) for line in gzip.decompress((tmp_path / "o.jsonl.gz").read_bytes()).splitlines()]
    assert [row["id"] for row in last] == [str(i) for i in range(12)]


def test_stdin_and_globs(tmp_path):
    for part in (2, 1):
        _save(tmp_path / f"part{part}.jsonl", [{"id": part, "response": ANSWER}])
    done = _run(f"{tmp_path}/part*.jsonl")
    assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == [1, 2]
    done = _run("-", input=json.dumps({"response": REFUSAL}) + "\n")
    assert json.loads(done.stdout)["verdict"]["declined"] is True


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv.gz", "out.parquet"])
def test_several_processes_give_the_same_rows(tmp_path, monkeypatch, name):
    rows = _rows(900)
    rows[500] = {"id": 500}
    path = str(_save(tmp_path / "in.jsonl", rows))
    for size in ("PIECE", "PARQUET_PIECE"):
        monkeypatch.setattr(f"demur.studies.classify.{size}", 2**13)
    outs = [str(tmp_path / f"{workers}{name}") for workers in (1, 2)]
    counts = [classify_files([path], out, workers=workers) for workers, out in zip((1, 2), outs, strict=True)]
    assert counts[0] == counts[1]
    assert (counts[0].rows, counts[0].rejected) == (900, 1)
    one, two = ([row.fields for row in RowReader(out)] for out in outs)
    assert one == two
    assert [int(row["id"]) for row in one] == [i for i in range(900) if i != 500]


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv", "out.jsonl.gz", "out.parquet"])
def test_a_killed_run_is_finished_without_duplicates_or_losses(tmp_path, name):
    rows = _rows(2_600)
    rows[700] = {"id": 700}
    source, pipe, out = _save(tmp_path / "in.jsonl", rows), tmp_path / "pipe.jsonl", tmp_path / name
    # the first run reads a pipe that never ends, so that it is certainly in the middle of its work when it is killed
    os.mkfifo(pipe)
    process = subprocess.Popen(_command(pipe, "-o", out), stderr=subprocess.DEVNULL)
    note = tmp_path / f"{name}.progress.json"
    with pipe.open("wb") as stream:
        stream.write("".join(json.dumps(row) + "\n" for row in rows[:2_200]).encode())
        stream.flush()
        while not (note.exists() and json.loads(note.read_text())["counts"]["rows"] >= 1_024):
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
    done_before = json.loads(note.read_text())["counts"]["rows"]
    assert 0 < done_before < len(rows)
    if not name.endswith(".parquet"):
        with out.open("ab") as torn:  # as if the kill had struck in the middle of a write
            torn.write(b'{"id": "torn')
    pipe.unlink()
    source.rename(pipe)
    assert _run(pipe, "-o", out).returncode == 2  # not without --resume or --force
    done = _run(pipe, "-o", out, "--resume", "--json")
    assert done.returncode == 4, done.stderr
    assert json.loads(done.stdout)["rows"] == len(rows)
    ids = [int(row.fields["id"]) for row in RowReader(str(out))]
    assert ids == [i for i in range(len(rows)) if i != 700]
    assert [row["line"] for row in _load(f"{out}.rejected.jsonl")] == [701]
    assert not note.exists()


def test_ctrl_c_keeps_what_is_done_and_exits_3(tmp_path):
    pipe, out = tmp_path / "pipe.jsonl", tmp_path / "out.jsonl"
    os.mkfifo(pipe)
    process = subprocess.Popen(_command(pipe, "-o", out), stderr=subprocess.PIPE, text=True)
    note = tmp_path / "out.jsonl.progress.json"
    with pipe.open("wb") as stream:
        stream.write("".join(json.dumps(row) + "\n" for row in _rows(600)).encode())
        stream.flush()
        while not (note.exists() and json.loads(note.read_text())["counts"]["rows"]):
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, message = process.communicate(timeout=60)
    assert process.returncode == 3
    assert "--resume" in message
    assert len(_load(out)) == json.loads(note.read_text())["counts"]["rows"] == 600


def test_resume_refuses_other_settings(tmp_path):
    out = tmp_path / "out.jsonl"
    (tmp_path / "out.jsonl.progress.json").write_text(
        json.dumps(
            {
                "state": "running",
                "settings": {"mapping": "full"},
                "counts": {"mapping": "full"},
                "out": {"bytes": 0},
                "rejected": {"bytes": 0},
            }
        )
    )
    done = _run(_save(tmp_path / "in.jsonl", _rows(2)), "-o", out, "--resume")
    assert done.returncode == 2
    assert "differ" in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a device that is always full")
def test_a_full_disk_is_said_and_exits_3(tmp_path):
    path = _save(tmp_path / "in.jsonl", _rows(3))
    out = tmp_path / "full.jsonl"
    out.symlink_to("/dev/full")
    done = _run(path, "-o", out)
    assert done.returncode == 3
    assert "disk is full" in done.stderr
    assert "Traceback" not in done.stderr
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(_command(path), stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 3
    assert "disk is full" in done.stderr


def test_a_reader_that_goes_away_is_no_failure(tmp_path):
    path = _save(tmp_path / "in.jsonl", _rows(1_500))
    process = subprocess.Popen(_command(path), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.readline()
    process.stdout.close()
    message = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 0
    assert message == b""


def test_a_killed_worker_process_exits_3_and_can_be_resumed(tmp_path, monkeypatch):
    monkeypatch.setattr("demur.studies.classify.PIECE", 2**13)
    source, out = str(_save(tmp_path / "in.jsonl", _rows(3_000))), str(tmp_path / "out.jsonl")

    def kill(_progress):
        for child in multiprocessing.active_children():
            child.kill()

    with pytest.raises(IncompleteError, match=r"worker process was killed.*--resume"):
        classify_files([source], out, workers=2, on_progress=kill)
    assert classify_files([source], out, workers=1, resume=True).rows == 3_000
    assert [row["id"] for row in _load(out)] == list(range(3_000))


@pytest.mark.parametrize("name", ["out.jsonl", "out.parquet"])
def test_a_failure_in_the_first_batch_can_be_resumed(tmp_path, name):
    # the output of an earlier run is there, and lies in the folder that the glob covers
    source, out = _save(tmp_path / "in.jsonl", _rows(700)), str(tmp_path / name)
    inputs = [str(tmp_path / "*")]
    classify_files([str(source)], out)

    def interrupt(progress):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("demur.studies.classify.judge_piece", lambda *_: interrupt(None))
        with pytest.raises(IncompleteError, match="--resume"):
            classify_files(inputs, out, force=True)
    with pytest.raises(IncompleteError):
        classify_files(inputs, out, resume=True, on_progress=interrupt)
    assert classify_files(inputs, out, resume=True).rows == 700
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", name]
    assert classify_files(inputs, out, force=True).rows == 700


def test_a_kill_before_the_parts_are_removed_leaves_a_run_that_can_be_resumed(tmp_path, monkeypatch):
    from demur.rows.sinks import _ParquetSink
    from demur.studies import classify

    source, out = str(_save(tmp_path / "in.jsonl", _rows(600))), tmp_path / "out.parquet"
    with monkeypatch.context() as patch:
        close = _ParquetSink.close

        def close_and_stop(self):
            close(self)
            raise KeyboardInterrupt

        patch.setattr(_ParquetSink, "close", close_and_stop)
        with pytest.raises(classify.IncompleteError):
            classify.classify_files([source], str(out))
    assert classify.classify_files([source], str(out), resume=True).rows == 600
    assert pl.read_parquet(out)["id"].to_list() == list(range(600))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.parquet"]


def test_fields_that_do_not_fit_leave_no_output_behind(tmp_path):
    source = str(_save(tmp_path / "in.jsonl", _rows(3)))
    for name in ("out.jsonl", "out.parquet"):
        for options in ({"response_field": "none"}, {"label_field": "gold"}):
            with pytest.raises(InputError, match="id, prompt, response, label"):
                classify_files([source], str(tmp_path / name), **options)
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_an_odd_first_row_is_set_aside_alone(tmp_path):
    source = _save(tmp_path / "in.jsonl", [{"note": "collected in May"}, *_rows(3)])
    count = classify_files([str(source)], str(tmp_path / "out.jsonl"))
    assert (count.rows, count.rejected) == (4, 1)
    source.write_text("{\n" * 1_500 + json.dumps(_rows(1)[0]) + "\n")
    count = classify_files([str(source)], str(tmp_path / "out.jsonl"), force=True)
    assert (count.rows, count.rejected) == (1_501, 1_500)


def test_a_second_file_without_the_fields_keeps_what_the_first_gave(tmp_path):
    good, bad = _save(tmp_path / "a.jsonl", _rows(600)), _save(tmp_path / "b.jsonl", [{"note": 1}])
    out = tmp_path / "out.jsonl"
    with pytest.raises(InputError, match="note"):
        classify_files([str(good), str(bad)], str(out))
    assert len(_load(out)) == 600
    _save(bad, _rows(1))
    assert classify_files([str(good), str(bad)], str(out), resume=True).rows == 601
