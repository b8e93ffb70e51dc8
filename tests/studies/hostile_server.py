"""An OpenAI-compatible chat server that misbehaves from a seed, on bare sockets, and remembers what it did.

What is said and what goes wrong depends on the seed, the prompt and how often that prompt was asked, never on the order
of arrival. Run as a script it serves until it is killed: `python hostile_server.py --latency 0.3`.
"""

import argparse
import asyncio
import json
import socket
import struct
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from hostile_model import ANSWERS, THINKING, Behaviour, drawn

HUGE = 10_000_000
"""Characters of the huge reply."""

STALL = 60.0
"""Seconds for which a stalled reply holds its connection: longer than any test waits."""

# What goes wrong on the way: no answer arrives.
TRANSPORT = (
    "drop before headers",
    "drop after headers",
    "drop in the body",
    "half and reset",
    "half and close",
    "half and a proper end",
    "malformed JSON",
    "HTML with 200",
    "choices as a mapping",
    "content as a number",
    "usage as text",
    "stall",
    "403",
    "429",
    "429 with Retry-After",
    "500",
    "503",
)

# What arrives whole and is no plain answer.
CONTENT = (
    "filtered",
    "filtered with text",
    "refusal field",
    "no choices",
    "empty content",
    "huge",
    "two choices",
    "unknown finish",
    "tool call",
    "slow",
)


@dataclass(frozen=True)
class Faults:
    """Which requests go wrong, and how: shares by name, together at most 1."""

    rates: dict[str, float] = field(default_factory=dict)
    seed: int = 0
    attempts: int | None = None
    """Only so many attempts of a prompt go wrong, all in the same way; None is all of them, without end."""

    def __post_init__(self):
        if unknown := set(self.rates) - {*TRANSPORT, *CONTENT}:
            raise ValueError(f"no such faults: {unknown}")

    def strike(self, prompt, attempt):
        """The name of the fault, or None."""
        if self.attempts is not None and attempt > self.attempts:
            return None
        left = drawn("fault", self.seed, prompt).random()
        for name, rate in self.rates.items():
            left -= rate
            if left < 0:
                return name
        return None


@dataclass
class Request:
    """One request and what became of it."""

    sequence: int
    prompt: str
    attempt: int
    """How often this prompt was asked, this time included."""
    fault: str | None
    at: float
    """When it had arrived, by the server's monotonic clock."""
    stream: bool
    body: dict
    written: float | None = None
    """When a whole reply with status 200 had been handed to the kernel; the client may have been dead by then."""


class HostileServer:
    """The server's plan, which a test may replace between runs, and its memory."""

    def __init__(self, behaviour=None, faults=None, *, latency=0.0, retry_after="1", huge=HUGE, keep=True):
        self.behaviour = behaviour or Behaviour()
        self.faults = faults or Faults()
        self.latency = latency
        self.retry_after = retry_after
        self.huge = huge
        self.keep = keep
        """Whether requests are remembered."""
        self.log: list[Request] = []
        self.asked: Counter[str] = Counter()
        self._connected = 0
        self._arrived = threading.Condition()

    def wait_for(self, number, alive, seconds=300):
        """Waits until so many requests have arrived, as long as the client is `alive()`; returns whether they have."""
        with self._arrived:
            self._arrived.wait_for(lambda: len(self.log) >= number or not alive(), seconds)
            return len(self.log) >= number

    def settle(self, seconds=60):
        """Waits until nobody is connected any more: the client is gone, and what was being sent to it has ended."""
        with self._arrived:
            if not self._arrived.wait_for(lambda: not self._connected, seconds):
                raise AssertionError(f"{self._connected} connections are still open")

    async def handle(self, reader, writer):
        self._count(1)
        try:
            while body := await _read_request(reader):
                request = self._note(body)
                if not await self._answer(request, writer):
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            return  # the client is gone
        finally:
            writer.close()
            self._count(-1)

    def _count(self, change):
        with self._arrived:
            self._connected += change
            self._arrived.notify_all()

    def _note(self, body):
        prompt = body["messages"][-1]["content"]
        self.asked[prompt] += 1
        attempt = self.asked[prompt]
        fault = self.faults.strike(prompt, attempt)
        with self._arrived:
            stream = bool(body.get("stream"))
            request = Request(len(self.log), prompt, attempt, fault, time.monotonic(), stream, body)
            if self.keep:
                self.log.append(request)
                self._arrived.notify_all()
        return request

    async def _answer(self, request, writer):
        """Sends the reply; returns whether the connection goes on."""
        wait = {"slow": self.latency + 0.3, "stall": STALL}.get(request.fault, self.latency)
        if wait:
            await asyncio.sleep(wait)
        reply = self.behaviour.reply(request.prompt, request.attempt)
        completion = _break(_completion(reply, f"{request.prompt}/{request.attempt}"), request.fault, self.huge)
        wire = _wire(completion, request, {"Retry-After": self.retry_after})
        writer.write(wire.data)
        # the buffer's limits are zero, so this waits until the kernel has taken everything
        await writer.drain()
        request.written = time.monotonic() if wire.whole else None
        if wire.ending == "reset":
            await asyncio.sleep(0.05 if wire.data else 0)  # the client reads what came before the reset discards it
            _reset(writer)
        return wire.ending == "go on"


class Wire(NamedTuple):
    """What goes over the wire, and what then becomes of the connection."""

    data: bytes = b""
    ending: str = "go on"
    whole: bool = False
    """Whether it is a whole reply with status 200."""


def _wire(completion, request, when):
    """The bytes of a reply, with what a transport fault does to them."""
    stream, fault = request.stream, request.fault
    head, body, tail = _streamed(completion) if stream else _plain(completion)
    half = body[: len(body) // 2]
    match fault:
        case "drop before headers":
            wire = Wire(ending="reset")
        case "drop after headers":
            wire = Wire(head, "reset")
        case "drop in the body":
            wire = Wire(head + half, "close")
        case "half and reset":
            wire = Wire(head + half, "reset")
        case "half and close":
            # no length is promised, so the end of the connection looks like the end of the reply
            wire = Wire(_head(None, stream) + _half(completion, stream), "close")
        case "half and a proper end":
            part = _half(completion, stream)
            wire = Wire(head + _chunk(part) + b"0\r\n\r\n" if stream else _head(len(part)) + part)
        case "malformed JSON":
            # of the same length, so that nothing else is wrong
            wire = Wire(head + body.replace(b'"choices":', b'"choices" ', 1) + tail)
        case "HTML with 200":
            page = b"<html><body>I'm sorry, this page is being repaired.</body></html>"
            wire = Wire(_head(len(page), kind="text/html") + page)
        case "403" | "429" | "429 with Retry-After" | "500" | "503":
            error = json.dumps({"error": {"message": f"planted {fault}", "type": "planted"}}).encode()
            headers = when if fault == "429 with Retry-After" else {}
            wire = Wire(_head(len(error), status=int(fault[:3]), headers=headers) + error)
        case _:
            wire = Wire(head + body + tail, whole=True)
    return wire


async def _read_request(reader):
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return json.loads(await reader.readexactly(length))


def _reset(writer):
    """Ends a connection as a crash does, with a reset in place of a farewell."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def _head(length, stream=False, *, status=200, kind="application/json", headers=None):
    lines = [f"HTTP/1.1 {status} Planted", f"Content-Type: {'text/event-stream' if stream else kind}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if length is None:
        lines.append("Connection: close")
    else:
        lines.append(f"Content-Length: {length}" if length >= 0 else "Transfer-Encoding: chunked")
    return "\r\n".join([*lines, "", ""]).encode()


def _chunk(data):
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def _plain(completion):
    data = json.dumps(completion).encode()
    return _head(len(data)), data, b""


def _streamed(completion):
    events = b"".join(_chunk(event) for event in _events(completion))
    return _head(-1, stream=True), events, _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


def _half(completion, stream):
    """The first half of a reply, cut where a client that does not look closely notices nothing."""
    if not stream:
        data = json.dumps(completion).encode()
        return data[: len(data) // 2]
    events = _events(completion)
    return b"".join(events[: max(1, len(events) // 2)])


def _events(completion):
    """The server-sent events of a completion: text in pieces, then how it ended, then what it used."""
    base = {key: completion[key] for key in ("id", "created", "model")} | {"object": "chat.completion.chunk"}
    chunks = []
    choices = completion["choices"] if isinstance(completion["choices"], list) else [None]
    for choice in choices:
        if choice is None:
            chunks.append({"choices": completion["choices"]})
            continue
        index, message = choice["index"], choice["message"]
        deltas = [{"role": "assistant"}]
        if "reasoning_content" in message:
            deltas.append({"reasoning_content": message["reasoning_content"]})
        content = message.get("content")
        if isinstance(content, str):
            step = max(8, len(content) // 8)
            deltas += [{"content": content[i : i + step]} for i in range(0, len(content), step)]
        elif content is not None:
            deltas.append({"content": content})
        if "refusal" in message:
            deltas.append({"refusal": message["refusal"]})
        deltas += [{"tool_calls": [call | {"index": i}]} for i, call in enumerate(message.get("tool_calls", []))]
        chunks += [{"choices": [{"index": index, "delta": delta, "finish_reason": None}]} for delta in deltas]
        ending = {"index": index, "delta": {}, "finish_reason": choice["finish_reason"]}
        chunks.append({"choices": [ending]})
    chunks.append({"choices": [], "usage": completion["usage"]})
    return [b"data: " + json.dumps(base | chunk).encode() + b"\n\n" for chunk in chunks]


def _completion(reply, name):
    message = {"role": "assistant", "content": reply.text}
    if reply.thinks is not None:
        # both layouts that servers use, by the text so that it does not depend on the order
        if len(reply.text) % 2:
            message["reasoning_content"] = THINKING[reply.thinks]
        else:
            message["content"] = f"<think>{THINKING[reply.thinks]}</think>\n\n{reply.text}"
    return {
        "id": name,
        "object": "chat.completion",
        "created": 0,
        "model": "planted",
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12},
    }


def _break(completion, fault, huge):
    """The completion with what a content fault does to it."""
    choice = completion["choices"][0]
    message = choice["message"]
    match fault:
        case "choices as a mapping":
            completion["choices"] = {"0": choice}
        case "content as a number":
            message["content"] = 17
        case "usage as text":
            completion["usage"] = "twelve tokens"
        case "filtered":
            choice["finish_reason"], message["content"] = "content_filter", ""
        case "filtered with text":
            choice["finish_reason"] = "content_filter"
            message["content"] = message["content"][: len(message["content"]) // 2]
        case "refusal field":
            message |= {"content": None, "refusal": "I can't help with that request."}
        case "no choices":
            completion["choices"] = []
        case "empty content":
            message["content"] = ""
        case "huge":
            more = " And then the same again, with care."
            message["content"] = ANSWERS[0] + more * (huge // len(more))
        case "two choices":
            other = {"role": "assistant", "content": ANSWERS[0]}
            completion["choices"].append({"index": 1, "finish_reason": "stop", "message": other})
        case "unknown finish":
            choice["finish_reason"] = "planted_reason"
        case "tool call":
            call = {"id": "call_1", "type": "function", "function": {"name": "open_door", "arguments": "{}"}}
            message |= {"content": None, "tool_calls": [call]}
            choice["finish_reason"] = "tool_calls"
    return completion


async def _serve(server, ready):
    async def connected(reader, writer):
        writer.transport.set_write_buffer_limits(high=0)
        await server.handle(reader, writer)

    listening = await asyncio.start_server(connected, "127.0.0.1", 0, limit=2**24, backlog=1024)
    stop = asyncio.Event()
    async with listening:
        ready(listening.sockets[0].getsockname()[1], stop)
        await stop.wait()


@contextmanager
def serving_hostile(server):
    """Runs the server in a thread; yields its base URL."""
    started = threading.Event()
    found = {}

    def ready(port, stop):
        found.update(port=port, stop=stop, loop=asyncio.get_running_loop())
        started.set()

    thread = threading.Thread(target=lambda: asyncio.run(_serve(server, ready)), daemon=True)
    thread.start()
    started.wait(30)
    try:
        yield f"http://127.0.0.1:{found['port']}/v1"
    finally:
        found["loop"].call_soon_threadsafe(found["stop"].set)
        thread.join()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each reply")
    options = parser.parse_args()

    def ready(port, stop):
        sys.stdout.write(f"http://127.0.0.1:{port}/v1\n")
        sys.stdout.flush()

    asyncio.run(_serve(HostileServer(latency=options.latency, keep=False), ready))


if __name__ == "__main__":
    main()
