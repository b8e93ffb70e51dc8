"""An OpenAI-compatible chat server on loopback; a test scripts what it does, and it remembers what it delivered."""

import json
import threading
import time
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Script:
    """What the server does; a test subclasses it or hands in `reply`."""

    def __init__(self, reply, *, delay=0.0):
        self.reply = reply
        self.delay = delay
        self.lock = threading.Lock()
        self.requests = 0
        self.delivered = Counter()
        """How often a whole reply to each conversation left the server."""
        self.bodies = []

    def next_number(self, body):
        with self.lock:
            self.requests += 1
            self.bodies.append(body)
            return self.requests


def completion(text, *, finish="stop", message=None):
    return {
        "id": "c",
        "object": "chat.completion",
        "created": 0,
        "model": "scripted",
        "choices": [
            {"index": 0, "finish_reason": finish, "message": message or {"role": "assistant", "content": text}}
        ],
        "usage": {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12},
    }


@contextmanager
def serving(script):
    """Runs the server; yields its base URL.

    `script.reply(number, body)` returns a dict (sent as JSON with 200), an int (a status with an error object), a pair
    (status, headers), a pair of that and a body, raw bytes (sent as they are), or None (the connection is dropped).
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args):
            pass

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            number = script.next_number(body)
            time.sleep(script.delay)
            answer = script.reply(number, body)
            if answer is None:
                self.close_connection = True
                self.connection.close()
                return
            status, headers = 200, {}
            if isinstance(answer, int):
                status, answer = answer, {"error": {"message": f"scripted {answer}", "type": "scripted"}}
            elif isinstance(answer, tuple) and isinstance(answer[0], tuple):
                (status, headers), answer = answer
            elif isinstance(answer, tuple):
                (status, headers), answer = answer, {"error": {"message": f"scripted {answer[0]}", "type": "scripted"}}
            payload = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            try:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(payload)))
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(payload)
                self.wfile.flush()
            except (BrokenPipeError, ConnectionResetError):
                return  # the client was killed: nothing was delivered
            if status == 200:
                with script.lock:
                    script.delivered[json.dumps(body["messages"], sort_keys=True)] += 1

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
