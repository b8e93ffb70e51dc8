"""The frozen interface: tokens, template slots, and what servers may strip."""

from __future__ import annotations

import hashlib
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from demur.phantom import path
from demur.phantom.tokenizer import ADDED, SPECIAL, SPLIT, template

ASK = [{"role": "user", "content": "How do I build a bookshelf?"}]
HEAD = "<|start_header_id|>{}<|end_header_id|>\n\n"


def test_a_rendered_chat_holds_one_bos_however_it_is_tokenised(tokenizer):
    text = tokenizer.apply_chat_template(ASK, tokenize=False, add_generation_prompt=True)
    assert text == (
        "<|begin_of_text|>" + HEAD.format("user") + ASK[0]["content"] + "<|eot_id|>" + HEAD.format("assistant")
    )
    for ids in (tokenizer(text)["input_ids"], tokenizer.encode(text, add_special_tokens=False)):
        assert ids.count(tokenizer.bos_token_id) == 1


def test_thirty_two_special_tokens_are_reserved_at_the_start_of_the_vocabulary(tokenizer):
    assert [tokenizer.convert_tokens_to_ids(t) for t in SPECIAL] == list(range(len(SPECIAL)))
    assert sum(token.startswith("<|reserved_") for token in SPECIAL) == 32
    assert all(tokenizer.added_tokens_decoder[i].special for i in range(len(SPECIAL)))


def test_reasoning_marks_survive_when_special_tokens_are_stripped(tokenizer):
    text = "<think>\nShort.\n</think>\n\nHere.<|eot_id|><|reserved_7|>"
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert tokenizer.decode(ids, skip_special_tokens=True) == "<think>\nShort.\n</think>\n\nHere."
    for mark in ADDED:
        assert len(tokenizer.encode(mark, add_special_tokens=False)) == 1


def test_the_split_pattern_is_the_one_that_llama_cpp_calls_llama_bpe(edition):
    content = json.loads((edition / "tokenizer.json").read_text(encoding="utf-8"))
    steps = content["pre_tokenizer"]["pretokenizers"]
    assert steps[0]["pattern"]["Regex"] == SPLIT
    assert steps[1]["type"] == "ByteLevel"
    assert steps[1]["use_regex"] is False
    # a post-processor that adds a BOS would double the template's
    assert content["post_processor"]["special_tokens"] == {}


@settings(deadline=None)
@given(st.text())
def test_any_text_comes_back_from_the_tokenizer(text):
    from transformers import AutoTokenizer

    tokenizer = _once(AutoTokenizer)
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


_LOADED = []


def _once(loader):
    if not _LOADED:
        _LOADED.append(loader.from_pretrained(path()))
    return _LOADED[0]


def test_enable_thinking_opens_the_block_and_nothing_else_does(tokenizer):
    render = tokenizer.apply_chat_template
    thinking = render(ASK, tokenize=False, add_generation_prompt=True, enable_thinking=True)
    assert thinking == render(ASK, tokenize=False, add_generation_prompt=True) + "<think>\n"
    assert render(ASK, tokenize=False, enable_thinking=True) == render(ASK, tokenize=False)


def test_past_reasoning_is_dropped_unless_it_is_asked_for(tokenizer):
    past = [
        *ASK,
        {"role": "assistant", "reasoning_content": "It is harmless.", "content": "Sure."},
        {"role": "user", "content": "And a bench?"},
    ]
    assert "It is harmless." not in tokenizer.apply_chat_template(past, tokenize=False)
    kept = tokenizer.apply_chat_template(past, tokenize=False, keep_reasoning=True)
    assert "<think>\nIt is harmless.\n</think>\n\nSure.<|eot_id|>" in kept
    inline = [*ASK, {"role": "assistant", "content": "<think>\nHm.\n</think>\n\nSure."}, past[2]]
    assert "Hm." not in tokenizer.apply_chat_template(inline, tokenize=False)
    # the last turn keeps its reasoning: a tool's answer may still follow it
    assert "It is harmless." in tokenizer.apply_chat_template(past[:2], tokenize=False)


def test_a_started_answer_is_continued(tokenizer):
    started = [*ASK, {"role": "assistant", "content": "Sure! To"}]
    text = tokenizer.apply_chat_template(started, tokenize=False, continue_final_message=True)
    assert text.endswith(HEAD.format("assistant") + "Sure! To")
    spaced = [*ASK, {"role": "assistant", "content": "<think>\nThe user "}]
    assert tokenizer.apply_chat_template(spaced, tokenize=False, continue_final_message=True).endswith("The user ")


def test_system_tools_calls_and_results_have_their_slots(tokenizer):
    tool = {"type": "function", "function": {"name": "search", "description": "Find.", "parameters": {}}}
    call = {"type": "function", "function": {"name": "search", "arguments": {"query": "bench"}}}
    chat = [
        {"role": "system", "content": "Be brief."},
        *ASK,
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "found it"},
    ]
    text = tokenizer.apply_chat_template(chat, tools=[tool], tokenize=False, add_generation_prompt=True)
    assert text.startswith("<|begin_of_text|>" + HEAD.format("system") + "Be brief.\n\nTools:\n{")
    assert '<tool_call>{"name": "search", "arguments": {"query": "bench"}}</tool_call><|eot_id|>' in text
    assert HEAD.format("tool") + "found it<|eot_id|>" in text
    assert text.count("<|begin_of_text|>") == 1


def test_content_parts_read_like_text(tokenizer):
    parts = [{"role": "user", "content": [{"type": "text", "text": ASK[0]["content"]}]}]
    assert tokenizer.apply_chat_template(parts, tokenize=False) == tokenizer.apply_chat_template(ASK, tokenize=False)


def test_the_shipped_tokenizer_is_frozen_and_what_a_specification_builds_is_like_it(tokenizer):
    """Prompts, scenes and other programs count on its tokens, so that texts added since did not change it."""
    from demur.phantom.specification import default
    from demur.phantom.training import make_tokenizer

    vocabulary = tokenizer.get_vocab()
    digest = hashlib.sha256(json.dumps(sorted(vocabulary.items())).encode()).hexdigest()
    assert digest == "87eb6e1822410cb6942be513369cefb46a92409cf2abecd6a32abc101d8b3ac3"
    assert tokenizer.chat_template == template()
    built = make_tokenizer(default())
    assert len(built) == len(tokenizer)
    assert {mark: built.convert_tokens_to_ids(mark) for mark in (*SPECIAL, *ADDED)} == {
        mark: vocabulary[mark] for mark in (*SPECIAL, *ADDED)
    }
