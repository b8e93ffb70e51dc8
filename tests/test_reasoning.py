"""The reasoning splitter: every layout, what only looks like one, and texts that were made to hurt."""

from __future__ import annotations

import re
from typing import get_args

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from demur.reasoning import Split, State, split

TAGS = [
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<THINK>", "</think>"),
    ("<think>", "</thinking>"),
    ('<think signature="abc" redacted="true">', "</think>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<reflection>", "</reflection>"),
    ("<scratchpad>", "</scratchpad>"),
    ("<SCRATCHPAD_REASONING>", "</SCRATCHPAD_REASONING>"),
    ("<antThinking>", "</antThinking>"),
    ("<seed:think>", "</seed:think>"),
    ("<longcat_think>", "</longcat_think>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|inner_prefix|>", "<|inner_suffix|>"),
    ("<|channel>thought\n", "<channel|>"),
    ("<|open|>think<|sep|>", "<|close|>think<|sep|>"),
    ('<details type="reasoning" done="true">', "</details>"),
]


@pytest.mark.parametrize(("opening", "closing"), TAGS)
@pytest.mark.parametrize("space", ["", " ", "\n", "\n\n"])
def test_a_closed_block(opening, closing, space):
    text = f"{space}{opening}{space}They ask for a poem.{space}{closing}{space}Roses are red."
    assert split(text) == Split("They ask for a poem.", "Roses are red.", "closed", text.index("Roses"))


@pytest.mark.parametrize(("opening", "closing"), TAGS[:-1])  # a lone </details> closes some other section
def test_a_block_that_the_template_opened(opening, closing):
    text = f"They ask for a poem.\n{closing}\n\nRoses are red."
    expected = Split("They ask for a poem.", "Roses are red.", "opened", text.index("Roses"))
    assert split(text) == split(text, opened=True) == expected
    both = split(opening + text, opened=True)  # template and model both wrote the tag
    assert (both.reasoning, both.answer, both.state) == ("They ask for a poem.", "Roses are red.", "closed")


@pytest.mark.parametrize(("opening", "closing"), TAGS)
def test_a_block_that_is_cut(opening, closing):
    text = f"{opening}They ask for a po"
    assert split(text) == Split("They ask for a po", "", "cut", len(text))
    assert split(text + closing[:2]).state == "cut"
    assert split(text, opened=True).answer == ""


def test_a_cut_that_only_the_template_knows_of():
    assert split("They ask for a po", opened=True) == Split("They ask for a po", "", "cut", 17)
    assert split("They ask for a po").state == "none"


@pytest.mark.parametrize(
    ("text", "reasoning", "answer", "state"),
    [
        ("<think>\n\n</think>\n\nHi.", "", "Hi.", "closed"),
        ("<think></think>", "", "", "closed"),
        ("</think>\n\nHi.", "", "Hi.", "opened"),
        ("They ask</think>Hi.", "They ask", "Hi.", "opened"),
        ("<think>a</think>b<think>c</think>d", "a\n\nc", "b\n\nd", "closed"),
        ("<think>a</think>\nb\n<think>c", "a\n\nc", "b", "cut"),
        ("a\n</think>\nb\n<think>c</think>\nd", "a\n\nc", "b\n\nd", "opened"),
        ("<think>a</think><think>b</think>c", "a\n\nb", "c", "closed"),
        ("<think>a</think><reflection>b</reflection>c", "a\n\nb", "c", "closed"),
        ("Sure! <think>a</think> b", "a", "Sure!\n\nb", "closed"),
        ("Let me see.\n<think>\na\n</think>\nb", "a", "Let me see.\n\nb", "closed"),
        # nested, and a tag that the reasoning talks about
        ("<think>a <think>b</think> c</think> d", "a <think>b</think> c", "d", "closed"),
        ("<think>I use <think> here.</think>d", "I use <think> here.", "d", "closed"),
        ("<think>`</think>` ends it.</think>d", "`</think>` ends it.", "d", "closed"),
        ("<think>a<reasoning>b</think>c", "a<reasoning>b", "c", "closed"),
        # closed twice: it went on reasoning; or a stray tag at the end
        ("<think>a</think> more</think>b", "a\n\nmore", "b", "closed"),
        ("<think>a</think>b</think>\n", "a", "b", "closed"),
        # an open fence in the reasoning does not hide the end of it
        ("<think>\n```python\nx = 1\n</think>\nDone.", "```python\nx = 1", "Done.", "closed"),
        # quotation marks that end the reasoning and begin the answer do not quote the tag
        ('<think>I say "no"</think>"No" is my answer.', 'I say "no"', '"No" is my answer.', "closed"),
        # answers in wrappers of their own
        ("<think>a</think>\n<answer>b</answer>", "a", "b", "closed"),
        ("<think>a</think><answer>b", "a", "b", "closed"),
        ("<think>a</think><answer>b</answer>c", "a", "b\n\nc", "closed"),
        ("<|begin_of_thought|>a<|end_of_thought|>\n<|begin_of_solution|>b<|end_of_solution|>", "a", "b", "closed"),
        ("<|START_THINKING|>a<|END_THINKING|><|START_RESPONSE|>b<|END_RESPONSE|>", "a", "b", "closed"),
        (
            "<|open|>think<|sep|>a<|close|>think<|sep|><|open|>response<|sep|>b<|close|>response<|sep|>",
            "a",
            "b",
            "closed",
        ),
    ],
)
def test_blocks(text, reasoning, answer, state):
    found = split(text)
    assert (found.reasoning, found.answer, found.state) == (reasoning, answer, state)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   \n",
        "Hello.",
        "The `<think>` tag opens and `</think>` closes.",
        'Write "<think>" first and "</think>" last.',
        "Wrap it in <think> and </think> tags.",
        "```xml\n<think>\nHello\n</think>\n```\nThat is the layout.",
        "~~~\n```\n<think>\n```\n</think>\n~~~\nThat is the layout.",
        "````\n```\n<think>a</think>\n````\nDone.",
        "In prose:\n> <think>a</think> b",
        "<details><summary>More</summary>Text</details> End.",
        "<thinker>a</thinker> b",
        "I think. [THINKING] less.",
        "analysis of the poem: it rhymes",
        "My reasoning is simple: it rhymes.",
        "The answer: 42",
        "Answer: 42\nReasoning: because.",  # an explanation after the answer is part of it
        "A long first paragraph about the matter.\nAnother line.\nReasoning: x\nAnswer: y",
        "He said <|channel|> is a token.",
    ],
)
def test_text_without_reasoning_is_returned_as_it_is(text):
    assert split(text) == Split(None, text, "none", 0)


def test_a_tag_that_is_talked_about_after_a_block_is_answer():
    answer = "The <think> and </think> tags wrap it, and `</think>` ends it."
    assert split(f"<think>a</think>{answer}") == Split("a", answer, "closed", 16)


@pytest.mark.parametrize(
    "text",
    [
        "Models emit </think> when they are done.",
        "Here is an overview.\n<think> opens a block.",
        "I weigh <think> first\n</think>\nHi.",
        "analysisThe user wants a poem.assistantfinalRoses are red.",
        "analysisWe need to write a poem.",
        "analysis: the user wants it.assistantcommentary{}",
        "<|channel|>analysis",
        "Reasoning: they want a poem and here it is.",
        "**Reasoning:** They want a poem.\n\nRoses are red.",
    ],
)
def test_what_cannot_be_told_apart_says_so(text):
    assert split(text) == Split(None, text, "unsplittable", 0)


@pytest.mark.parametrize(
    ("reasoning_label", "answer_label"),
    [
        ("Reasoning: ", "\nAnswer: "),
        ("reasoning:\n", "\n\nresponse:\n"),
        ("**Reasoning:** ", "\n\n**Answer:** "),
        ("**Reasoning**: ", "\n\n**Final answer**: "),
        ("### Reasoning\n", "\n### Answer\n"),
        ("## **Thought process**\n\n", "\n\n## Response:\n\n"),
        ("Thought: ", "\nFinal Answer: "),
        ("Chain-of-thought: ", "\nOutput: "),
        ("Rationale: ", "\nE-mail: "),
        ("My reasoning: ", "\nCustomer-facing message: "),
        ("Here is my thought process: ", "\nHere is my response: "),
        ("Here's my thought process:\n", "\nHere's my response:\n"),
        ("Reasoning： ", "\r\nAnswer： "),
    ],
)
def test_labels(reasoning_label, answer_label):
    text = f"{reasoning_label}They ask for a poem.\nA short one.{answer_label}Roses are red."
    expected = Split("They ask for a poem.\nA short one.", "Roses are red.", "labelled", text.index("Roses"))
    assert split(text) == expected
    led = split(f"Sure, here it is:\n\n{text}")
    assert (led.reasoning, led.answer) == (expected.reasoning, "Sure, here it is:\n\nRoses are red.")


def test_empty_label_sections_are_empty():
    found = split("Reasoning:\nAnswer: 42")
    assert (found.reasoning, found.answer, found.state) == ("", "42", "labelled")
    assert split("Reasoning: hm\nAnswer:").answer == ""


A, F, E, S = "<|channel|>analysis<|message|>", "<|channel|>final<|message|>", "<|end|>", "<|start|>assistant"
TOOL = "<|channel|>commentary to=functions.look_up <|constrain|>json<|message|>{}<|call|>"


@pytest.mark.parametrize(
    ("text", "reasoning", "answer", "state"),
    [
        (f"{A}They ask.{E}{S}{F}Roses.<|return|>", "They ask.", "Roses.", "harmony"),
        (f"{S}{A}They ask.{E}{S}{F}Ros", "They ask.", "Ros", "harmony"),
        (f"{A}a{E}{S}{A}b{E}{S}{F}c", "a\n\nb", "c", "harmony"),
        (f"{F}Roses.<|return|>", None, "Roses.", "harmony"),
        (f"{S}<|message|>Roses.{E}", None, "Roses.", "harmony"),
        (f"{A}a{E}{S}<|channel|>commentary<|message|>I look.{E}{S}{TOOL}", "a", "I look.", "harmony"),
        (f"{A}a{E}{S}{TOOL}", "a", "", "harmony"),
        (f"{A}a{E}{S} to=functions.f<|channel|>commentary<|message|>{{}}<|call|>", "a", "", "harmony"),
        (
            f"{A}a{E}{S}{TOOL}<|start|>functions.look_up to=assistant<|channel|>commentary<|message|>found{E}{S}{F}c",
            "a",
            "c",
            "harmony",
        ),
        (f"They ask.{E}{S}{F}Roses.", "They ask.", "Roses.", "harmony"),
        (f"{A}They as", "They as", "", "cut"),
        (f"{A}They ask.{E}", "They ask.", "", "cut"),
        (f"{A}They ask.{E}{S}<|channel|>fin", "They ask.", "", "cut"),
        (f"{A}I weigh <think> tags.{E}{S}{F}b", "I weigh <think> tags.", "b", "harmony"),
    ],
)
def test_harmony(text, reasoning, answer, state):
    found = split(text)
    assert (found.reasoning, found.answer, found.state) == (reasoning, answer, state)
    if answer:
        assert text[found.answer_start :].startswith(answer)


def test_harmony_that_the_template_opened():
    assert split(f"They ask.{E}{S}{F}Roses.", opened=True)[:3] == ("They ask.", "Roses.", "harmony")
    assert split("They as", opened=True)[:3] == ("They as", "", "cut")


def test_harmony_in_a_quotation_is_text():
    text = f"The layout is:\n```\n{A}a{E}\n```\nand it ends with final."
    assert split(text).state == "none"


PIECES = st.lists(
    st.one_of(
        st.sampled_from(
            [tag for pair in TAGS for tag in pair]
            + [A, F, E, S, TOOL, "<|message|>", "<|channel|>", "analysis", "assistantfinal"]
            + [
                "Reasoning:",
                "Answer:",
                "### Response",
                "```",
                "~~~",
                "`",
                '"',
                "\n",
                "\n\n",
                " ",
                ". ",
                "> ",
                "<answer>",
            ]
        ),
        st.text(max_size=8),
    ),
    max_size=14,
).map("".join)


@given(PIECES, st.booleans())
@settings(max_examples=400)
@example("<think>", True)
@example("</think></think>", False)
@example("<|end|>", True)
def test_any_text_is_split_into_pieces_of_itself(text, opened):
    found = split(text, opened=opened)
    assert found.state in get_args(State)
    assert 0 <= found.answer_start <= len(text)
    if found.state in ("none", "unsplittable"):
        assert found == Split(None, text, found.state, 0)
        return
    for piece in (found.reasoning or "", found.answer):
        assert piece == piece.strip()
        assert all(part in text for part in piece.split("\n\n"))
    letters = [len(re.sub(r"\s", "", piece)) for piece in (found.reasoning or "", found.answer, text)]
    assert letters[0] + letters[1] <= letters[2]  # no character is both reasoning and answer
    if found.answer:
        assert text.startswith(found.answer.split("\n\n")[0], found.answer_start)
    else:
        assert found.answer_start == len(text)
    if found.state == "cut":
        assert found.reasoning is not None


PLAIN = st.text(st.sampled_from("ab cd.,\né中"), min_size=1, max_size=40).map(str.strip).filter(bool)


@given(PLAIN, PLAIN, st.sampled_from(TAGS), st.sampled_from(["", "\n", "\n\n", " "]))
def test_a_written_layout_is_read_back(reasoning, answer, tags, space):
    opening, closing = tags
    found = split(f"{opening}{space}{reasoning}{space}{closing}{space}{answer}")
    assert (found.reasoning, found.answer, found.state) == (reasoning, answer, "closed")


@given(st.lists(st.tuples(PLAIN, PLAIN), min_size=1, max_size=5), st.sampled_from(TAGS))
def test_several_written_blocks_are_read_back(rounds, tags):
    found = split("".join(f"{tags[0]}\n{thought}\n{tags[1]}\n{answer}\n" for thought, answer in rounds))
    assert found.reasoning == "\n\n".join(thought for thought, _ in rounds)
    assert found.answer == "\n\n".join(answer for _, answer in rounds)


@given(st.lists(PLAIN, min_size=1, max_size=4), PLAIN)
def test_written_channels_are_read_back(thoughts, answer):
    found = split("".join(f"{S}{A}{thought}{E}" for thought in thoughts) + f"{S}{F}{answer}<|return|>")
    assert found[:3] == ("\n\n".join(thoughts), answer, "harmony")


@given(PLAIN, PLAIN, st.sampled_from([("Reasoning", "Answer"), ("**Thoughts**", "**Reply**")]))
def test_written_labels_are_read_back(reasoning, answer, labels):
    found = split(f"{labels[0]}: {reasoning}\n{labels[1]}: {answer}")
    assert found[:3] == (reasoning, answer, "labelled")


@given(PLAIN)
def test_plain_text_is_left_alone(text):
    assert split(text) == Split(None, text, "none", 0)


HOSTILE = [
    *(
        "<think>",
        "</think>",
        "a</think>",
        "<think></think>",
        "<think><think></think>",
        "<think>\n",
        " <think>",
        "<think ",
    ),
    *(
        "</think ",
        '<details type="reasoning"',
        "`",
        "```",
        "```\n",
        "~~~\n",
        "\n",
        " ",
        "\t",
        "**",
        "#",
        "### Answer\n",
    ),
    *("Reasoning:", "Reasoning:\n", "Answer: ", "analysis", "analysisassistan", "<|channel|>", "<|channel|>final"),
    *(A, F, E, S, "<|start|>", "<|message|>", '"<think>"', "<answer>", "here is my thought process"),
]


def _count_steps(text, opened):
    """How many lines of the splitter run; the regular expressions underneath are bounded by their own shape."""
    import sys

    import demur.reasoning

    steps = 0
    source = demur.reasoning.__file__

    def trace(frame, event, _argument):
        nonlocal steps
        if frame.f_code.co_filename != source:
            return None
        steps += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        split(text, opened=opened)
    finally:
        sys.settrace(before)
    return steps


@pytest.mark.parametrize("unit", HOSTILE)
@pytest.mark.parametrize("opened", [False, True])
def test_work_grows_in_proportion_to_the_text(unit, opened):
    small, large = (_count_steps(unit * (size // len(unit)), opened) for size in (1_500, 6_000))
    assert large < 4.6 * small + 300


@pytest.mark.parametrize("unit", HOSTILE)
def test_a_long_repetition_is_split(unit):
    # a quadratic path in a regular expression would take many minutes here and stand out in any test run
    text = unit * (400_000 // len(unit))
    found = split(text)
    assert len(found.answer) + len(found.reasoning or "") <= 2 * len(text)


@pytest.mark.parametrize("behind", ["x`", "`x`", "x` <think>a</think>b"])
def test_long_runs_of_backticks_are_read_once(behind):
    # a pattern that tries every length of the run, and the rest of the line for each, would not come back
    text = "`" * 300_000 + behind
    assert split(text).reasoning in (None, "a")
