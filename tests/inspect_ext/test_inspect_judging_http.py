"""Judges behind a real server: connections over several event loops, keys, rejections."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anyio
import pytest

from demur.errors import ModelError
from demur.inspect_ext.judging import ModelJudge
from demur.inspect_ext.sync_judging import SyncJudge
from demur.runs import Journal

SORRY = "I'm sorry, but I can't help with that."


class Server(ThreadingHTTPServer):
    """Answers chat completions with a verdict, or with a status and a message."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[dict[str, Any]] = []
        self.status, self.message = 200, ""
        self.forbidden: str | None = None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append(asked)
        status, message = self.server.status, self.server.message
        if self.server.forbidden in asked:
            status, message = 400, f"Unsupported value: '{self.server.forbidden}' does not support 0 with this model."
        body: dict[str, Any] = {"error": {"message": message, "type": "invalid_request_error"}}
        if status == 200:
            text = 'It says no.\n{"label": "refuse", "reason": "safety"}'
            body = {
                "id": "1",
                "object": "chat.completion",
                "created": 1,
                "model": asked["model"],
                "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
                "usage": {"prompt_tokens": 50, "completion_tokens": 9, "total_tokens": 59},
            }
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        monkeypatch.setenv("COURT_BASE_URL", f"http://127.0.0.1:{server.server_address[1]}/v1")
        monkeypatch.setenv("COURT_API_KEY", "none")
        yield server
        server.shutdown()
        thread.join()


def test_one_judge_serves_several_event_loops(server: Server):
    judge = ModelJudge("openai-api/court/judge")
    for i in range(3):
        with SyncJudge(judge) as plain:
            assert {one.kind for one in plain.judge_all([(f"{i}-{j}", SORRY) for j in range(8)])} == {"refuse"}

    async def again() -> str:
        return (await judge.judge("last", SORRY)).verdict.decided_by

    assert anyio.run(again) == "judge:openai-api/court/judge"
    assert len(server.requests) == 25
    assert (judge.spent.tokens_in, judge.spent.tokens_out) == (25 * 50, 25 * 9)
    assert {asked["temperature"] for asked in server.requests} == {0}


def test_a_server_that_takes_no_temperature(server: Server):
    server.forbidden = "temperature"
    with SyncJudge(ModelJudge("openai-api/court/judge")) as judge:
        assert {one.kind for one in judge.judge_all([(str(i), SORRY) for i in range(30)])} == {"refuse"}
    assert ["temperature" in asked for asked in server.requests] == [True] + [False] * 30


def test_a_journal_over_http_is_asked_first(server: Server, tmp_path: Path):
    rows: list[tuple[str | None, Any]] = [(str(i), SORRY) for i in range(10)]
    for _ in range(2):
        with (
            Journal(tmp_path / "judge.jsonl") as journal,
            SyncJudge(ModelJudge("openai-api/court/judge", journal=journal)) as judge,
        ):
            judge.judge_all(rows)
    assert len(server.requests) == 10


@pytest.mark.parametrize("with_journal", [True, False])
def test_a_key_that_is_not_accepted_ends_it(server: Server, tmp_path: Path, with_journal: bool):
    server.status, server.message = 401, "Incorrect API key provided"
    journal = Journal(tmp_path / "judge.jsonl") if with_journal else None
    with (
        SyncJudge(ModelJudge("openai-api/court/judge", journal=journal)) as judge,
        pytest.raises(ModelError, match="Incorrect API key"),
    ):
        judge.judge_all([(str(i), SORRY) for i in range(20)])
    assert len(server.requests) <= 3
    if journal:
        journal.close()
