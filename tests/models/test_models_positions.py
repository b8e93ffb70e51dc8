"""Facts about where the parts of a chat are, on several chat templates."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from demur.errors import InputError, ModelError
from demur.models import Chat, LocalModel
from demur.models.positions import find_positions
from demur.models.template import ChatTemplate


def pieces(model, chat):
    """The text of each part."""
    found = model.positions(chat)
    assert list(found.token_ids) == model.encode(chat)

    def text(part):
        return None if part is None else model.tokenizer.decode([found.token_ids[i] for i in part])

    parts = ("head", "instruction", "post_instruction", "reasoning", "answer")
    return found, {part: text(getattr(found, part)) for part in parts}


@pytest.mark.parametrize(
    ("template", "head", "post"),
    [
        ("llama3", "<|begin|><|head|>user<|/head|>\n\n", "<|eot|><|head|>assistant<|/head|>\n\n"),
        (
            "chatml",
            "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n",
            "<|im_end|>\n<|im_start|>assistant\n",
        ),
        ("strict", "<|begin|>[INST] ", " [/INST]"),
    ],
)
def test_the_parts_of_one_question(load, template, head, post):
    found, text = pieces(load("llama", template), "Why is the sky blue?")
    assert text["instruction"].strip() == "Why is the sky blue?"
    assert text["head"].rstrip() == head.rstrip()
    assert text["post_instruction"] == post
    assert found.last_instruction == found.instruction[-1] == found.post_instruction[0] - 1
    assert found.last == len(found.token_ids) - 1 == found.post_instruction[-1]
    assert (text["reasoning"], text["answer"]) == (None, None)


@pytest.mark.parametrize("template", ["llama3", "chatml", "strict"])
def test_the_last_user_message_is_the_instruction(load, template):
    chat = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello, Hi"},
        {"role": "user", "content": "Hi"},
    ]
    found, text = pieces(load("llama", template), chat)
    assert text["instruction"].strip() == "Hi"
    # the same words stand earlier too; the last ones are meant
    assert found.instruction.start > len(found.head) + 3
    assert found.post_instruction.stop == len(found.token_ids)


def test_a_system_message_belongs_neither_to_the_head_nor_to_the_instruction(load):
    chat = [{"role": "system", "content": "You rest."}, {"role": "user", "content": "Why?"}]
    _, text = pieces(load("llama", "llama3"), chat)
    assert text["head"] == "<|begin|><|head|>system<|/head|>\n\n"
    assert text["instruction"] == "Why?"
    _, text = pieces(load("llama", "strict"), chat)
    assert text["head"].rstrip() == "<|begin|>[INST]"
    assert text["instruction"] == "Why?"


def test_a_template_that_strips_is_followed(load):
    found, text = pieces(load("llama", "llama3"), "\n  Why is the sky blue?  \n\n")
    assert text["instruction"] == "Why is the sky blue?"
    assert found.last_instruction == found.post_instruction[0] - 1
    _, text = pieces(load("llama", "chatml"), "Why?\n\n")
    assert text["instruction"] == "Why?\n\n", "a template that keeps white space keeps it in the instruction"


@pytest.mark.parametrize("template", ["llama3", "chatml", "strict"])
def test_the_parts_of_a_completed_conversation(load, template):
    words = "<think>\nfirst plan it\n</think>\n\nHere are the steps"
    chat = [{"role": "user", "content": "Bake"}, {"role": "assistant", "content": words}]
    found, text = pieces(load("llama", template), chat)
    assert text["reasoning"].strip() == "first plan it"
    assert text["answer"] == "Here are the steps"
    assert found.find("last_reasoning") < found.find("first_answer") <= found.find("last_answer") == found.last
    assert found.post_instruction.stop <= found.reasoning.start
    assert text["post_instruction"].endswith(("[/INST]", "assistant\n", "<|/head|>\n\n"))


def test_reasoning_that_the_template_opened_is_found(load):
    model = load("llama", "chatml")
    words = "first plan it\n</think>\n\nHere are the steps"
    message = {"role": "user", "content": "Bake"}
    opened = Chat(messages=(message, {"role": "assistant", "content": words}), thinking=True)
    found, text = pieces(model, opened)
    assert text["post_instruction"].endswith("assistant\n<think>\n")
    assert (text["reasoning"].strip(), text["answer"]) == ("first plan it", "Here are the steps")
    spelled = Chat(messages=(message, {"role": "assistant", "content": "<think>\n" + words}), thinking=True)
    assert model.encode(spelled) == model.encode(opened), "the opening tag is not doubled"
    given = {"role": "assistant", "reasoning_content": "first plan it", "content": "Here are the steps"}
    assert model.encode([message, given]) == model.encode(Chat(messages=spelled.messages))
    assert found.find("last") == found.answer[-1]


def test_reasoning_without_an_answer_is_left_open(load):
    model = load("llama", "chatml")
    chat = [
        {"role": "user", "content": "Bake"},
        {"role": "assistant", "content": "", "reasoning_content": "first plan"},
    ]
    _, text = pieces(model, chat)
    assert (text["reasoning"].strip(), text["answer"]) == ("first plan", None)
    assert model.template.render(Chat(messages=tuple(chat))).opened is not None


def test_positions_have_names(load):
    found = load("llama", "llama3").positions("Why?")
    assert found.find("last") == found.find("post_instruction:-1")
    assert found.find("last_instruction") + 1 == found.find("post_instruction:0")
    with pytest.raises(InputError, match="no position 'first_answer'"):
        found.find("first_answer")
    with pytest.raises(InputError, match="that part has"):
        found.find("post_instruction:99")
    with pytest.raises(InputError, match="unknown position 'middle'"):
        found.find("middle")


@pytest.mark.parametrize("template", ["llama3", "chatml", "strict"])
def test_an_empty_system_message_is_passed_over(load, template):
    chat = [{"role": "system", "content": ""}, {"role": "user", "content": "Why?"}]
    found, text = pieces(load("llama", template), chat)
    assert text["instruction"] == "Why?"
    assert found.head.stop == found.instruction.start


@pytest.mark.parametrize("name", ["post_instruction:\u00b2", "post_instruction:--1", "post_instruction:"])
def test_an_odd_number_is_no_position(load, name):
    with pytest.raises(InputError, match="unknown position"):
        load("llama", "llama3").positions("Why?").find(name)


def test_what_cannot_be_found_is_an_error(make_tokenizer, build):
    network = build("llama")
    # drops everything that was said before the last message, prints messages twice, changes text with the content
    twice = "{% for m in messages %}{{ m['content'] }}|{{ m['content'] }}{% endfor %}"
    with pytest.raises(InputError, match="2 times"):
        LocalModel(network, make_tokenizer(twice), name="twice").positions("Why?")
    moody = "{% if 'sky' in messages[-1]['content'] %}A{% else %}BB{% endif %}{{ messages[-1]['content'] }}!"
    with pytest.raises(InputError, match="changes other text"):
        LocalModel(network, make_tokenizer(moody), name="moody").positions("the sky")
    with pytest.raises(InputError, match="empty"):
        LocalModel(network, make_tokenizer(), name="blank").positions("  ")
    with pytest.raises(InputError, match="user message"):
        LocalModel(network, make_tokenizer(), name="roles").positions([{"role": "system", "content": "Rest."}])


def test_thinking_is_refused_where_the_template_has_no_switch(load, build, make_tokenizer):
    chat = Chat(messages=({"role": "user", "content": "Hi"},), thinking=True)
    switched = load("llama", "chatml")
    assert switched.template.switches == ("enable_thinking",)
    assert switched.tokenizer.decode(switched.encode(chat)).endswith("<think>\n")
    # this tokenizer has <think> as a token, so the model may well reason; only switching it off is refused
    with pytest.raises(ModelError, match="no reasoning switch"):
        load("llama", "llama3").encode(Chat(messages=chat.messages, thinking=False))
    assert load("llama", "llama3").encode(chat) == load("llama", "llama3").encode("Hi")


class WithoutOffsets:
    """A tokenizer that cannot tell offsets, as those written in Python."""

    is_fast = False

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer

    def __call__(self, text, **options):
        options.pop("return_offsets_mapping", None)
        return self.tokenizer(text, **options)


@pytest.mark.parametrize("template", ["llama3", "chatml", "strict"])
def test_positions_without_offsets_agree(load, template):
    model = load("llama", template)
    for chat in (
        Chat(messages=({"role": "user", "content": "Why is the sky blue?"},)),
        Chat(
            messages=(
                {"role": "user", "content": "Tell me how to rest"},
                {"role": "assistant", "content": "<think>\nfirst plan\n</think>\n\nHere are"},
            )
        ),
    ):
        slow = find_positions(chat, ChatTemplate(model.tokenizer, "slow"), WithoutOffsets(model.tokenizer))
        assert slow == model.positions(chat)


WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=40)


@pytest.mark.parametrize("template", ["llama3", "chatml", "strict"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=WORDS.filter(lambda t: t.strip() and "<" not in t and "\x00" not in t), answer=WORDS.filter(str.strip))
def test_whatever_is_said_the_parts_cover_it(load, template, text, answer):
    model = load("llama", template)
    chat = [{"role": "user", "content": text}, {"role": "assistant", "content": answer}]
    found = model.positions(chat)
    ids = list(found.token_ids)
    assert ids == model.encode(chat)
    said = model.tokenizer.decode([ids[i] for i in found.instruction])
    assert text.strip() in said
    assert found.instruction.stop == found.post_instruction.start
    assert found.answer is None or found.answer.stop == len(ids)
    assert model.tokenizer.decode(ids).endswith(answer)
