import json
import os
import signal
import subprocess
import sys
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demur.errors import RunError
from demur.runs import Journal
from demur.runs.journal import content_key


def test_each_line_is_handed_out_once_and_in_order(tmp_path):
    with Journal(tmp_path / "journal.jsonl") as journal:
        journal.append("a", {"text": "first"})
        journal.append("b", {"text": "other"})
        journal.append("a", {"text": "second"})
    with Journal(tmp_path / "journal.jsonl") as journal:
        assert journal.recorded == 3
        assert [journal.take("a"), journal.take("a"), journal.take("a")] == [
            {"text": "first"},
            {"text": "second"},
            None,
        ]
        assert journal.take("b") == {"text": "other"}


def test_what_this_process_wrote_is_not_handed_back_to_it(tmp_path):
    """Epochs ask the same thing again and want a new answer."""
    with Journal(tmp_path / "journal.jsonl") as journal:
        journal.append("a", 1)
        assert journal.take("a") is None


def test_a_torn_last_line_is_cut_off_and_the_rest_kept(tmp_path):
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        journal.append("a", 1)
        journal.append("b", 2)
    whole = path.read_bytes()
    for length in range(whole.index(b"\n") + 1, len(whole)):
        path.write_bytes(whole[:length])
        with Journal(path) as journal:
            assert journal.recorded == 1
            journal.append("c", 3)
        assert [json.loads(line)["key"] for line in path.read_text().splitlines()] == ["a", "c"]


def test_a_damaged_line_in_the_middle_is_counted_and_skipped(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_text('{"key": "a", "value": 1}\n{"key": \n[1, 2]\n{"key": "b", "value": 2}\n')
    with Journal(path) as journal:
        assert (journal.recorded, journal.damaged) == (2, 2)
        assert journal.take("b") == 2


def test_a_second_holder_is_refused(tmp_path):
    with Journal(tmp_path / "journal.jsonl"), pytest.raises(RunError, match="another process"):
        Journal(tmp_path / "journal.jsonl")
    Journal(tmp_path / "journal.jsonl").close()


def test_a_place_that_cannot_be_written_is_an_error_that_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot open the journal"):
        Journal(tmp_path / "file" / "journal.jsonl")


def test_lines_survive_a_kill(tmp_path):
    script = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from demur.runs import Journal
        journal = Journal(Path(sys.argv[1]))
        number = 0
        while True:
            journal.append(str(number), "x" * 2000)
            print(number, flush=True)
            number += 1
        """
    )
    path = tmp_path / "journal.jsonl"
    with subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        said = [int(writer.stdout.readline()) for _ in range(200)]
        os.kill(writer.pid, signal.SIGKILL)
        said += [int(line) for line in writer.stdout.read().splitlines()]
    with Journal(path) as journal:
        assert all(journal.take(str(number)) == "x" * 2000 for number in said)
        assert journal.recorded in {len(said), len(said) + 1}


def test_a_disk_that_is_full_keeps_the_lines_before(tmp_path):
    """A real file-system limit: the process may write no file beyond so many bytes."""
    script = textwrap.dedent(
        """
        import resource, sys
        from pathlib import Path
        from demur.errors import RunError
        from demur.runs import Journal
        journal = Journal(Path(sys.argv[1]))
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
        try:
            for number in range(100):
                journal.append(str(number), "x" * 900)
        except RunError as error:
            print(number, error)
        """
    )
    path = tmp_path / "journal.jsonl"
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
    number, message = done.stdout.split(" ", 1)
    assert "make room and resume" in message
    with Journal(path) as journal:
        assert journal.recorded == int(number) == 5
        assert path.read_bytes().endswith(b"\n")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_the_key_does_not_depend_on_the_order_of_mappings(content):
    def turned(value):
        if isinstance(value, dict):
            return {key: turned(inner) for key, inner in reversed(value.items())}
        return [turned(inner) for inner in value] if isinstance(value, list) else value

    assert content_key(content) == content_key(turned(content))


def test_different_content_has_different_keys():
    assert len({content_key(content) for content in (1, "1", [1], {"a": 1}, {"a": "1"}, None, "")}) == 7
