"""What a request's failure is called, and how garbage is collected while samples pile up."""

import gc
import json

import pytest
from inspect_ai.model import ModelCall

from demur.inspect_ext.failures import describe_failure, is_cut_short, is_garbled, status_of
from demur.inspect_ext.garbage import rare_collections


def call(finish_reason, *, stream=True):
    return ModelCall(
        request={"stream": stream}, response={"choices": [{"index": 0, "finish_reason": finish_reason, "message": {}}]}
    )


def test_only_a_stream_that_never_said_why_it_stopped_is_cut_short():
    assert is_cut_short(call(None))
    assert not is_cut_short(call("stop"))
    assert not is_cut_short(call("a_word_of_its_own"))
    # a server may leave the reason out of a reply that came whole
    assert not is_cut_short(call(None, stream=False))


@pytest.mark.parametrize("response", [None, {}, {"choices": None}, {"choices": []}, {"content": [{"text": "a"}]}])
def test_replies_of_other_shapes_are_left_alone(response):
    assert not is_cut_short(ModelCall(request={"stream": True}, response=response))


class ServerError(Exception):
    status_code = 503


def read(text):
    """Fails as a provider's client does when the reply is no JSON."""
    try:
        return json.loads(text)
    except ValueError as cause:
        raise RuntimeError("no reply") from cause


def test_a_failure_is_named_by_its_innermost_cause():
    with pytest.raises(RuntimeError) as caught:
        read('{"id": ')
    assert is_garbled(caught.value)
    assert status_of(caught.value) is None
    assert describe_failure(caught.value) == "RuntimeError: no reply: Expecting value: line 1 column 8 (char 7)"
    assert describe_failure(ServerError("overloaded\nsecond line")) == "HTTP 503: overloaded"
    assert not is_garbled(ServerError("overloaded"))


def interrupted(seen):
    with rare_collections():
        seen.append(gc.get_threshold()[0])
        raise KeyboardInterrupt


def test_the_collector_is_as_it_was_afterwards():
    before, seen = gc.get_threshold(), []
    with pytest.raises(KeyboardInterrupt):
        interrupted(seen)
    assert seen[0] > before[0]
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0
