"""Judges in `demur classify`: who is asked, what it costs, what resuming pays, and where the rungs differ."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from loopback import Script, completion, serving

from demur.errors import IncompleteError, InputError, ModelError
from demur.inspect_ext.budget import Price
from demur.studies.classify import classify_files

JUDGE = "openai-api/scripted/judge"
REFUSAL = "I'm sorry, but I can't help you with opening that window."
ANSWER = "Sure! First sand the wood, then paint it in thin layers, and let it dry over night."


@pytest.fixture
def source(tmp_path):
    """Forty different responses, every fourth a refusal; line 3 cannot be read."""
    lines = [json.dumps({"prompt": f"p{i}", "response": f"{ANSWER if i % 4 else REFUSAL} ({i})"}) for i in range(40)]
    path = tmp_path / "in.jsonl"
    path.write_text("\n".join([*lines[:2], "{", *lines[2:]]) + "\n")
    return str(path)


def _load(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def contrary(number, body):
    """A judge that says the opposite of what there is to see."""
    label = "comply" if "can't help" in json.dumps(body["messages"]) else "refuse"
    return completion(json.dumps({"label": label, "reason": None}))


def test_a_judge_that_reads_everything_decides_and_its_disagreements_are_listed(scripted_env, source, tmp_path):
    out = str(tmp_path / "out.jsonl")
    with serving(script := Script(contrary)) as url:
        scripted_env(url)
        count = classify_files(
            [source], out, judges=[JUDGE], judge_all=True, prices={JUDGE: Price(input=100, output=1)}, compare=True
        )
    assert script.requests == 40
    assert {row["verdict"]["decided_by"] for row in _load(out)} == {f"judge:{JUDGE}"}
    assert [row["verdict"]["declined"] for row in _load(out)] == [i % 4 != 0 for i in range(40)]
    found = count.summary()
    # seven tokens read and five written a reply
    assert found["judge"] == {
        "asked": 40, "failed": 0, "requests": 40, "replayed": 0, "tokens_in": 280, "tokens_out": 200,
        "cost": pytest.approx((280 * 100 + 200) / 1e6),
    }  # fmt: skip
    differ = found["disagreements"]["ladder_judge"]
    assert (differ["count"], differ["n"], differ["value"]) == (40, 40, 1.0)
    assert differ["rows"] == [{"source": source, "line": line} for line in (1, 2, *range(4, 22))]
    assert "text" not in json.dumps(found)


def test_only_doubtful_rows_are_asked_about(scripted_env, source, tmp_path):
    with serving(script := Script(contrary)) as url:
        scripted_env(url)
        count = classify_files([source], str(tmp_path / "out.jsonl"), judges=[JUDGE])
    assert script.requests == count.judge["asked"] < 40
    assert count.decided_by[f"judge:{JUDGE}"] == script.requests


def test_resuming_asks_about_nothing_twice(scripted_env, source, tmp_path, monkeypatch):
    monkeypatch.setattr("demur.studies.classify.JUDGE_PIECE", 1_000)
    out = str(tmp_path / "out.jsonl")

    def stop(progress):
        raise KeyboardInterrupt

    options = {"judges": [JUDGE], "judge_all": True}
    with serving(script := Script(contrary)) as url:
        scripted_env(url)
        with pytest.raises(IncompleteError, match="--resume"):
            classify_files([source], out, on_progress=stop, **options)
        first = script.requests
        assert 0 < first < 40
        with pytest.raises(InputError, match="judge_all differ"):
            classify_files([source], out, resume=True, judges=[JUDGE])
        # as if the kill had struck after the replies and before the rows were written
        note = Path(f"{out}.progress.json")
        kept = json.loads(note.read_text())
        kept |= {
            "mark": [0, [0, 0], None],
            "out": {"bytes": 0, "columns": None},
            "rejected": {"bytes": 0, "columns": None},
        }
        kept["counts"] |= {"rows": 0}
        note.write_text(json.dumps(kept))
        count = classify_files([source], out, resume=True, **options)
    assert script.requests == 40
    assert count.spent["replayed"] == first
    assert len(_load(out)) == 40
    assert set(script.delivered.values()) == {1}
    # the replies stay beside the output: starting over is free
    with serving(script := Script(contrary)) as url:
        scripted_env(url)
        classify_files([source], out, force=True, **options)
    assert script.requests == 0


def test_several_judges_are_a_panel(scripted_env, source, tmp_path):
    def two_of_three(number, body):
        return completion(json.dumps({"label": "comply" if "judge-c" in body["model"] else "refuse", "reason": None}))

    out = str(tmp_path / "out.jsonl")
    judges = [f"openai-api/scripted/judge-{name}" for name in "abc"]
    with serving(script := Script(two_of_three)) as url:
        scripted_env(url)
        classify_files([source], out, judges=judges, judge_all=True)
    assert script.requests == 120
    assert {row["verdict"]["kind"] for row in _load(out)} == {"refuse"}
    assert {row["verdict"]["decided_by"] for row in _load(out)} == {f"judge:panel({','.join(judges)})"}


def test_another_rubric_is_another_question(scripted_env, source, tmp_path):
    rubric = tmp_path / "mine.toml"
    rubric.write_text(
        'name = "mine"\nversion = "1"\nquestion = "Does it speak of wood?"\n'
        '[[labels]]\nname = "yes"\nkind = "comply"\nmeaning = "It does."\n'
        '[[labels]]\nname = "no"\nkind = "refuse"\nmeaning = "It does not."\n'
    )

    def speaks(number, body):
        assert "Does it speak of wood?" in json.dumps(body["messages"])
        return completion('{"label": "no"}')

    out = str(tmp_path / "out.jsonl")
    with serving(Script(speaks)) as url:
        scripted_env(url)
        classify_files([source], out, judges=[JUDGE], judge_all=True, rubric=rubric)
    assert Counter(row["verdict"]["kind"] for row in _load(out)) == {"refuse": 40}


def test_a_judge_that_mumbles_leaves_rows_unscored_and_they_are_counted(scripted_env, source, tmp_path):
    with serving(Script(lambda number, body: completion("It depends."))) as url:
        scripted_env(url)
        count = classify_files([source], str(tmp_path / "out.jsonl"), judges=[JUDGE], judge_all=True)
    found = count.summary()
    assert (found["judge"]["asked"], found["judge"]["failed"]) == (40, 40)
    assert found["excluded"] == {"unscored": 40}
    assert "ladder_judge" not in found["disagreements"]
    assert found["judge"]["cost"] is None


def test_a_judge_that_never_answers_is_an_error(scripted_env, source, tmp_path):
    with serving(Script(lambda number, body: 401)) as url:
        scripted_env(url)
        with pytest.raises(ModelError, match="does not accept the key"):
            classify_files([source], str(tmp_path / "out.jsonl"), judges=[JUDGE], judge_all=True)


@pytest.mark.parametrize(
    "options", [{"judge_all": True}, {"rubric": "binary"}, {"prices": {"a": Price(input=1, output=1)}}]
)
def test_options_of_judges_without_a_judge_are_errors(source, tmp_path, options):
    with pytest.raises(InputError, match="--judge"):
        classify_files([source], str(tmp_path / "out.jsonl"), **options)


def test_the_providers_flag_is_compared_with_the_text(tmp_path):
    rows = [
        {"response": REFUSAL, "provider_refusal": True},
        {"response": ANSWER, "provider_refusal": True},
        {"response": ANSWER, "provider_refusal": False},
        {"response": REFUSAL, "provider_refusal": False},
        {"response": "", "provider_refusal": True},
        {"response": REFUSAL},
    ]
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    count = classify_files([str(path)], str(tmp_path / "out.jsonl"))
    differ = count.summary()["disagreements"]["provider_text"]
    assert (differ["count"], differ["n"], differ["value"]) == (2, 4, None)
    assert [row["line"] for row in differ["rows"]] == [2, 4]


def test_counts_survive_the_note_and_add_up():
    from demur.studies.classified import SHOWN, Classified

    whole = Classified("any")
    for part in range(3):
        one = Classified("any", rows=2, rejected=1)
        one.add(["comply", "refuse"], ["rules", "classifier"], [False, True])
        one.compare(["refusal", True], [False, True])
        one.reasons.update([f"why {part}"])
        one.differences["ladder_judge"].add([("a", 10 * part + line) for line in range(9)], 20)
        whole.merge(Classified.from_json(json.loads(json.dumps(one.as_json()))))
    assert (whole.rows, whole.rejected, whole.kinds["comply"], whole.confusion["FN"]) == (6, 3, 3, 3)
    differ = whole.differences["ladder_judge"]
    assert (differ.count, differ.compared, len(differ.where)) == (27, 60, SHOWN)
    assert differ.where[-1] == ["a", 21]
    whole.reasons["frequent"] = 7
    for number in range(500):
        whole.merge(Classified("any", rejected=1, reasons=Counter([f"odd {number}"])))
    assert sum(whole.reasons.values()) == 510
    assert whole.reasons["frequent"] == 7
    assert len(whole.reasons) <= 50


def _command(*arguments):
    command = [sys.executable, "-c", "from demur.cli import main; main()", "classify", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_the_command_asks_tells_and_lists(scripted_env, source, tmp_path):
    with serving(script := Script(contrary)) as url:
        scripted_env(url)
        done = _command(
            source, "-o", tmp_path / "out.jsonl", "--judge", JUDGE, "--judge-all", "--price", "1/2", "--summary"
        )
    assert done.returncode == 4, done.stderr  # line 3 cannot be read
    assert script.requests == 40
    told = " ".join(done.stderr.split())
    assert "ladder against judge: differ at 40 of 40 rows" in told
    assert "the first in line 1, 2, 4, 5," in told
    assert "judge: asked about 40 rows, 0 without a verdict; 40 requests" in told
    assert "cost 0.0007" in told
    assert sorted(path.name for path in tmp_path.glob("out*")) == [
        "out.jsonl", "out.jsonl.judge.jsonl", "out.jsonl.rejected.jsonl",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--judge", JUDGE, "--price", "cheap"], "INPUT/OUTPUT"),
        (["--judge", JUDGE, "--price", "other=1/2"], "names none of the judges"),
        (["--judge", JUDGE, "--judge", f"{JUDGE}-2", "--price", "1/2"], "names none of the judges"),
        (["--price", "1/2"], "names none of the judges"),
        (["--judge-all"], "name its model with --judge"),
        (["--judge", "nobody/knows"], "nobody"),
        (["--judge", JUDGE, "--rubric", "absent.toml"], "absent.toml"),
    ],
)
def test_judges_that_cannot_be_asked_are_usage_errors(scripted_env, source, tmp_path, arguments, message):
    scripted_env("http://127.0.0.1:9/v1")
    done = _command(source, "-o", tmp_path / "out.jsonl", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("out*"))
