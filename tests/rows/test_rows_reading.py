"""Reading rows: every format, and every way in which a row can be unreadable."""

from __future__ import annotations

import gzip
import io
import json
import os
import sys
import threading

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demur.errors import InputError
from demur.rows import Exchange, Rejected, Row, RowReader, expand, find_fields, jsonl, read_exchange, read_prompts

GOOD = {"prompt": "Hello", "response": "Hi, how are you?"}


def _write(path, data):
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return str(path)


def _line(**fields):
    return json.dumps(fields, ensure_ascii=False) + "\n"


def test_bad_lines_are_set_aside_and_the_stream_goes_on(tmp_path):
    lines = [
        b'{"response": "one"}\n',
        b"{not json}\n",
        b'["a", "list"]\n',
        b'{"response": "nul \x00 byte"}\n',
        b'{"response": "bad utf-8 \xff\xfe"}\n',
        b"\n",
        b'{"response": "digits", "n": ' + b"9" * 5_000 + b"}\n",
        b'{"a":' * 100_000 + b"\n",
        b'{"response": "two"}\n',
        b'{"response": "cut in the mid',
    ]
    items = list(RowReader(_write(tmp_path / "rows.jsonl", b"".join(lines))))
    assert [type(item) for item in items] == [
        Row,
        Rejected,
        Rejected,
        Rejected,
        Rejected,
        Rejected,
        Rejected,
        Row,
        Rejected,
    ]
    assert [item.line for item in items] == [1, 2, 3, 4, 5, 7, 8, 9, 10]
    why = [item.why for item in items if isinstance(item, Rejected)]
    for reason, expected in zip(
        why,
        ("not JSON", "got list", "nul byte", "not UTF-8 at byte", "not usable", "not usable", "in the middle"),
        strict=True,
    ):
        assert expected in reason
    assert all(len(item.raw) <= 2_000 for item in items if isinstance(item, Rejected))


def test_csv_faults_are_set_aside(tmp_path):
    data = (
        b"prompt,response\n"
        b'q1,"a reply, with a comma\nand a line"\n'
        b"q2,too,many\n"
        b"q3\n"
        b"q4,bad \xff byte\n"
        b"q5,nul \x00 byte\n"
        b'q6,"quote" outside\n'
        b"q7,fine\n"
        b'q8,"never closed'
    )
    items = list(RowReader(_write(tmp_path / "rows.csv", data)))
    rows = [item for item in items if isinstance(item, Row)]
    assert [row.fields["prompt"] for row in rows] == ["q1", "q7"]
    assert rows[0].fields["response"] == "a reply, with a comma\nand a line"
    why = [item.why for item in items if isinstance(item, Rejected)]
    assert len(why) == 6
    for reason, expected in zip(
        why, ("3 fields", "1 fields", "not UTF-8", "nul byte", "not CSV", "not CSV"), strict=True
    ):
        assert expected in reason


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz", "rows.csv", "rows.csv.gz", "rows.tsv", "rows.parquet"])
def test_every_format_gives_the_same_rows(tmp_path, name):
    rows = [{"prompt": f"p{i}", "response": f"répônse {i}\nline"} for i in range(50)]
    path = tmp_path / name
    if name.endswith(".parquet"):
        pl.DataFrame(rows).write_parquet(path)
    else:
        separator = "\t" if ".tsv" in name else ","
        text = (
            pl.DataFrame(rows).write_csv(separator=separator)
            if ".csv" in name or ".tsv" in name
            else "".join(_line(**row) for row in rows)
        )
        path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    reader = RowReader(str(path))
    assert reader.fraction == 0.0 or name.endswith(".parquet")
    assert [row.fields for row in reader] == rows
    assert reader.fraction == 1.0


def test_gzip_cut_in_the_middle_keeps_what_came_before(tmp_path):
    whole = gzip.compress("".join(_line(response=str(i) * 50) for i in range(5_000)).encode())
    items = list(RowReader(_write(tmp_path / "rows.jsonl.gz", whole[: len(whole) // 2])))
    assert len(items) > 100
    assert all(isinstance(item, Row) for item in items[:-1])
    assert "compressed file" in items[-1].why


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("rows.jsonl.gz", b"plain", "does not hold gzip"),
        ("rows.parquet", b"not parquet at all", "as Parquet"),
        ("rows.txt", b"x", "does not tell the format"),
        ("rows.csv", b"a,a\n1,2\n", "twice"),
    ],
)
def test_files_that_are_not_what_they_say(tmp_path, name, data, message):
    with pytest.raises(InputError, match=message):
        list(RowReader(_write(tmp_path / name, data)))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("text", ['{"prompt": "a", "response": "b"}\n', "prompt,response\na,b\n"])
def test_standard_input_is_told_by_its_first_bytes(monkeypatch, text, packed):
    data = gzip.compress(text.encode()) if packed else text.encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert [row.fields for row in RowReader("-")] == [{"prompt": "a", "response": "b"}]


def test_byte_order_marks_are_no_part_of_the_first_field(tmp_path):
    assert next(iter(RowReader(_write(tmp_path / "a.jsonl", b"\xef\xbb\xbf" + _line(**GOOD).encode())))).fields == GOOD
    assert (
        next(iter(RowReader(_write(tmp_path / "a.csv", b"\xef\xbb\xbfprompt,response\nHello,x\n")))).fields["prompt"]
        == "Hello"
    )


def test_globs_are_sorted_and_empty_ones_are_errors(tmp_path):
    for name in ("b.jsonl", "a.jsonl", "c.txt"):
        (tmp_path / name).touch()
    (tmp_path / "empty").mkdir()
    assert expand([str(tmp_path / "*.jsonl"), "-"]) == [str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl"), "-"]
    for pattern, message in (
        ("nothing-*.jsonl", "no file matches"),
        ("absent.jsonl", "does not exist"),
        ("empty", "holds no file of rows"),
    ):
        with pytest.raises(InputError, match=message):
            expand([f"{tmp_path}/{pattern}"])


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (("prompt", "response"), ("prompt", "response", None)),
        (("id", "Instruction", "Output"), ("Instruction", "Output", None)),
        (("question", "answer"), ("question", "answer", None)),
        (("completion",), (None, "completion", None)),
        (("messages",), (None, None, "messages")),
        (("input", "messages", "response"), ("input", "response", None)),
    ],
)
def test_fields_are_found_by_name(fields, expected):
    assert tuple(find_fields([fields])) == expected


def test_missing_fields_are_named_with_those_there_are():
    with pytest.raises(InputError, match=r"fields: foo, bar.*--response-field"):
        find_fields([{"foo": 1, "bar": 2}])
    with pytest.raises(InputError, match="--prompt-field 'q' is not there"):
        find_fields([{"response": 1}], prompt_field="q")


def _exchange(**fields):
    return read_exchange(Row(1, "x", fields), find_fields([fields]))


def test_the_last_assistant_turn_is_judged():
    turns = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "early"},
        {"role": "user", "content": [{"type": "text", "text": "second"}, {"type": "image"}]},
        {"role": "assistant", "content": "late"},
        {"role": "user", "content": "unanswered"},
    ]
    exchange = _exchange(messages=turns)
    assert (exchange.prompt, exchange.response.text) == ("second", "late")
    assert _exchange(messages=json.dumps(turns)) == exchange
    assert (
        _exchange(conversations=[{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]).response.text == "a"
    )


def test_a_provider_refusal_inside_a_message_is_kept():
    exchange = _exchange(
        messages=[{"role": "user", "content": "q"}, {"role": "assistant", "content": None, "refusal": "No."}]
    )
    assert (exchange.response.provider_refusal, exchange.response.text) == (True, "No.")


@pytest.mark.parametrize(
    ("fields", "ending"),
    [
        ({"finish_reason": "length"}, "length"),
        ({"stop_reason": "content_filter"}, "filtered"),
        ({"finish_reason": "stop"}, "end"),
        ({"ending": "nobody knows"}, "end"),
        ({"error": "timeout"}, "error"),
    ],
)
def test_endings_in_several_vocabularies(fields, ending):
    assert _exchange(response="", **fields).response.ending == ending


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"response": 3}, "should be text, got int"),
        ({"response": {"text": "x"}}, "got dict"),
        ({"messages": "no json"}, "not JSON"),
        ({"messages": [1, 2]}, "list of messages"),
        ({"messages": [{"role": "user", "content": "q"}]}, "no assistant turn"),
        ({"messages": [{"role": "assistant", "content": 4}]}, "content must be text"),
    ],
)
def test_wrong_types_are_set_aside(fields, why):
    result = _exchange(**fields)
    assert isinstance(result, Rejected)
    assert why in result.why


def test_a_row_without_the_field_is_set_aside_and_null_is_empty():
    names = find_fields([GOOD])
    assert "missing" in read_exchange(Row(2, "x", {"prompt": "q"}), names).why
    assert read_exchange(Row(2, "x", {"response": None}), names).response.text == ""


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=400))
def test_no_bytes_stop_the_stream(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("any") / "rows.jsonl"
    path.write_bytes(data)
    items = list(RowReader(str(path)))
    assert all(isinstance(item, Row | Rejected) for item in items)
    lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    assert len(items) == sum(bool(line.strip()) for line in lines)


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["response", "messages", "prompt", "error", "ending"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["role", "content", "refusal", "text"]), inner | st.just("assistant"), max_size=3
                )
            ),
            max_leaves=8,
        ),
    )
)
def test_any_row_is_read_or_set_aside(fields):
    names = find_fields([{"response": 1} if "response" in fields else {"messages": 1}])
    assert isinstance(read_exchange(Row(1, "x", fields), names), Exchange | Rejected)


def test_prompts_for_an_audit(tmp_path):
    path = _write(
        tmp_path / "prompts.jsonl",
        _line(id=7, prompt="Hello", category="greeting", expect="comply", pair_id=3, wrapper="none")
        + _line(messages=[{"role": "system", "content": "s"}, {"role": "user", "content": "Bye"}], licence="CC0"),
    )
    first, second = read_prompts(path)
    assert (first.id, first.text, first.category, first.expect, first.pair_id, first.meta) == (
        "7",
        "Hello",
        "greeting",
        "comply",
        "3",
        {"wrapper": "none"},
    )
    assert (second.id, second.text, second.expect, second.meta) == ("2", "Bye", None, {"licence": "CC0"})


def test_prompts_from_csv_read_empty_cells_as_nothing(tmp_path):
    (prompt,) = read_prompts(_write(tmp_path / "p.csv", "id,question,category,expect,pair_id\nx,Why?,,decline,\n"))
    assert (prompt.text, prompt.category, prompt.expect, prompt.pair_id) == ("Why?", None, "decline", None)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (_line(id="a", prompt="x") + _line(id="a", prompt="y"), r"line 2: the id 'a' was used in line 1"),
        (_line(prompt="x", expect="maybe"), r"line 1: expect"),
        (_line(text="x"), r"found the fields: text"),
        (_line(prompt=3), r"should be text"),
        (_line(prompt="  "), r"should be text"),
        (_line(messages=[{"content": "x"}]), r"line 1: messages"),
        ("{", r"line 1: not JSON"),
        ("\n", "holds no prompts"),
    ],
)
def test_faulty_prompts_name_their_line(tmp_path, lines, message):
    with pytest.raises(InputError, match=message):
        read_prompts(_write(tmp_path / "p.jsonl", lines))


def test_inspect_logs_are_rows(tmp_path):
    pytest.importorskip("inspect_ai")
    from inspect_ai import Task
    from inspect_ai import eval as evaluate
    from inspect_ai.dataset import Sample
    from inspect_ai.model import ModelOutput, ModelUsage, get_model

    def reply(messages, *_):
        first = messages[-1].text == "first"
        output = ModelOutput.from_content(
            "mockllm/model", "Sure, here it is." if first else "", stop_reason="stop" if first else "content_filter"
        )
        output.usage = ModelUsage()  # without it the mock counts tokens with an encoding from the network
        return output

    model = get_model("mockllm/model", custom_outputs=reply)
    task = Task(dataset=[Sample(id=1, input="first"), Sample(id=2, input="second")], name="two")
    log = evaluate(task, model=model, log_dir=str(tmp_path), display="none")[0]
    rows = list(RowReader(log.location))
    assert [row.fields["prompt"] for row in rows] == ["first", "second"]
    assert rows[0].fields["response"] == "Sure, here it is."
    assert rows[1].fields["ending"] == "content_filter"
    exchange = read_exchange(rows[1], find_fields([rows[1].fields]))
    assert exchange.response.ending == "filtered"


def _stdin(monkeypatch, data):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    return list(RowReader("-"))


@pytest.mark.parametrize("cut", [12, 20, -8])
def test_cut_gzip_on_standard_input_is_a_line_that_cannot_be_read(monkeypatch, cut):
    (*rows, last) = _stdin(monkeypatch, gzip.compress(_line(**GOOD).encode())[:cut])
    assert all(isinstance(row, Row) for row in rows)
    assert (type(last), last.line) == (Rejected, len(rows) + 1)
    assert "compressed file" in last.why


def test_a_quote_that_is_never_closed_names_the_lines_that_it_swallowed(tmp_path):
    data = "prompt,response\nq1,fine\n" + 'q2,"never closed\n' + "q,lost\n" * 50
    row, fault = RowReader(_write(tmp_path / "rows.csv", data))
    assert row.fields["prompt"] == "q1"
    assert fault.line == 3
    assert "lines 3 to 53" in fault.why
    _, fault, _ = RowReader(_write(tmp_path / "rows.csv", 'a,b\n1,2\n3,"x\ny",z\n4,5\n'))
    assert (fault.line, "lines 3 to 4" in fault.why) == (3, True)


@pytest.mark.parametrize("ending", [b"", b"\n"])
@pytest.mark.parametrize("extra", [1, 2, 500, 5_000])
def test_a_line_without_end_is_set_aside_and_the_next_is_read(tmp_path, monkeypatch, ending, extra):
    monkeypatch.setattr(jsonl, "LINE_LIMIT", 1_000)
    data = b'{"response": "a"}\n' + b"x" * (1_000 + extra - len(ending)) + ending
    items = list(RowReader(_write(tmp_path / "rows.jsonl", data + (b'{"response": "b"}\n' if ending else b""))))
    assert [type(item) for item in items] == [Row, Rejected, *([Row] if ending else [])]
    assert "longer than 1,000 bytes" in items[1].why
    assert items[-1].line == len(items)


@pytest.mark.parametrize("text", ['[{"response": "a"}]', '\n[\n  {"response": "a"}\n]\n'])
def test_one_json_array_is_an_error_that_says_what_to_do(tmp_path, monkeypatch, text):
    with pytest.raises(InputError, match=r"jq -c"):
        list(RowReader(_write(tmp_path / "rows.json", text)))
    with pytest.raises(InputError, match=r"jq -c"):
        _stdin(monkeypatch, text.encode())


@pytest.mark.parametrize("text", [_line(**GOOD), "prompt,response\nHello,x\n"])
def test_a_named_pipe_without_a_telling_name_is_read_like_standard_input(tmp_path, text):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=(text,))
    writer.start()
    assert [row.fields["prompt"] for row in RowReader(*expand([str(pipe)]))] == ["Hello"]
    writer.join()


def test_an_odd_row_does_not_decide_which_fields_are_read():
    usual = ["question", "output", "label"]
    assert tuple(find_fields([["note"], usual, usual])) == ("question", "output", None)
    assert tuple(find_fields([["response", "prompt"], usual, usual])) == ("question", "output", None)
    assert tuple(find_fields([["response"], ["messages"], ["messages"]])) == (None, None, "messages")
    with pytest.raises(InputError, match=r"--label-field 'gold' is not there; .*question, output, label"):
        find_fields([usual], label_field="gold")


@pytest.mark.parametrize("ending", ["refusal", "PROHIBITED_CONTENT", "blocklist", "recitation", "SPII"])
def test_what_providers_call_a_filter_is_one(ending):
    assert _exchange(response="", finish_reason=ending).response.ending == "filtered"


@pytest.mark.parametrize(("text", "flag"), [("true", True), ("False", False), ("", None), (True, True), (3, None)])
def test_provider_refusals_may_be_written_out(text, flag):
    assert _exchange(response="x", provider_refusal=text).response.provider_refusal is flag
