"""Splits reasoning from answer, whatever the layout; says so when it cannot.

Three layouts are read: tags (`<think>` and its many cousins), harmony channels, and written labels (`Reasoning:` and
then `Answer:`). A tag that is only talked about (in code, in quotes, in the middle of a sentence) is text. Every path
is linear in the length of the text, because what is split here was written by models under attack.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import Literal, NamedTuple

__all__ = ["Split", "State", "split"]

State = Literal["none", "closed", "opened", "cut", "labelled", "harmony", "unsplittable"]
"""How a text was split.

- `none`: no reasoning was found; the answer is the text, unchanged.
- `closed`: one or more tagged blocks, each opened and closed.
- `opened`: the text starts inside a block (the chat template had opened it) and closes it.
- `cut`: a block was opened and never closed, so the text ends before its answer does. The answer is what stood outside
  the blocks, nearly always `""`.
- `labelled`: written labels in the manner of `Reasoning: ... Answer: ...`.
- `harmony`: channels (`analysis`, `commentary`, `final`) with their control tokens.
- `unsplittable`: the text shows signs of reasoning that cannot be told apart from the answer. The answer is the whole
  text, and whoever reads it must not take it for an answer without reasoning.
"""


class Split(NamedTuple):
    """A response taken apart."""

    reasoning: str | None
    """The reasoning without its tags, `""` when a block was there and empty, None when none was found.

    Several blocks are joined by a blank line.
    """
    answer: str
    """What is meant for the reader. Several stretches are joined by a blank line."""
    state: State
    """How it was split."""
    answer_start: int
    """Character offset in the text at which the answer starts; the length of the text when there is no answer."""


class _Span(NamedTuple):
    start: int
    end: int


def split(text: str, *, opened: bool = False) -> Split:
    """Split `text` into reasoning and answer.

    Args:
        text: What the model gave back, raw or with special tokens removed.
        opened: True when the prompt ended inside a reasoning block, so that the text starts with reasoning. Without
            this knowledge a text that was cut before its closing tag looks like an answer.

    Returns:
        The pieces, stripped of surrounding white space, and the state; `none` and `unsplittable` return the text as it
        is.
    """
    if _is_harmony(text, opened=opened):
        return _split_harmony(text, opened=opened)
    tagged = _split_tags(text, opened=opened)
    if tagged.state != "none":
        return tagged
    if _STRIPPED_HARMONY.match(text):
        return _whole(text, "unsplittable")
    return _split_labels(text)


# ---------------------------------------------------------------------------------------------------------------- tags

_XML_NAMES = (
    # `seed:think` (Seed-OSS), `longcat_think`, `antThinking`: a prefix before the usual word
    r"(?:[a-z]{1,16}[:_]|ant)?think(?:ing)?"
    r"|thoughts?|reasoning|reflection|rationale|cot"
    r"|inner_monologue|internal_monologue|scratchpad(?:_reasoning)?"
)

_EVENT = re.compile(
    r"^[ \t]{0,3}(?P<fence>`{3,}+(?![^\n]*`)|~{3,})"  # as CommonMark has it: three blanks at most, no backtick behind
    r"|(?P<code>`[^`\n]*`)"
    rf"|<(?P<open_xml>{_XML_NAMES})(?:\s[^<>]*)?>"
    rf"|</(?P<close_xml>{_XML_NAMES})\s{{0,8}}>"
    # Chat interfaces that store reasoning as a folded section
    r'|<(?P<open_details>details)\s+type="reasoning"[^<>]*>|</(?P<close_details>details)>'
    # Magistral, Kimi, OpenThinker and Sky-T1, Cohere Command, Apertus, Gemma 4, Kimi K3
    r"|(?P<open_think>\[THINK\])|(?P<close_think>\[/THINK\])"
    r"|(?P<open_kimi>◁think▷)|(?P<close_kimi>◁/think▷)"
    r"|(?P<open_thought><\|begin_of_thought\|>)|(?P<close_thought><\|end_of_thought\|>)"
    r"|(?P<open_cohere><\|START_THINKING\|>)|(?P<close_cohere><\|END_THINKING\|>)"
    r"|(?P<open_inner><\|inner_prefix\|>)|(?P<close_inner><\|inner_suffix\|>)"
    r"|(?P<open_gemma><\|channel>thought\n?)|(?P<close_gemma><channel\|>)"
    r"|(?P<open_xtml><\|open\|>think<\|sep\|>)|(?P<close_xtml><\|close\|>think<\|sep\|>)",
    re.IGNORECASE | re.MULTILINE,
)

_WRAPPER = re.compile(
    r"\s*(?:<(?P<xml>answer|response|output|solution|final_answer)>"
    r"|(?P<solution><\|begin_of_solution\|>)|(?P<cohere><\|START_(?:RESPONSE|TEXT)\|>)|(?P<xtml><\|open\|>response<\|sep\|>))",
    re.IGNORECASE,
)
"""What some models put around the answer once the reasoning is closed."""

_SAME_AS = {"thinking": "think", "thoughts": "thought"}  # models open with the one and close with the other
_QUOTES = frozenset("\"'`“”‘’«»‹›「」")
_OPENING_PUNCTUATION = frozenset("([{,/|") | _QUOTES
_SENTENCE_ENDS = frozenset(".!?…。！？")
_LOOK_BACK = 64  # characters before a tag that are looked at; bounds the work on one endless line


class _Tag(NamedTuple):
    start: int
    end: int
    family: str
    """The tag's name; no family closes another."""
    is_open: bool


class _Fence(NamedTuple):
    start: int
    mark: str


def _split_tags(text: str, *, opened: bool) -> Split:
    """Read blocks of reasoning from left to right; what stands outside them is the answer."""
    events = _read_events(text)
    tags = [event for event in events if isinstance(event, _Tag)]
    if not tags:
        return _cut(text, [_Span(0, len(text))], []) if opened else _whole(text, "none")

    partner = _match_tags(tags)
    scan = _TagScan(text, partner)
    if opened:
        first_close = next((tag for tag in tags if not tag.is_open and tag.start not in partner.opening), None)
        first_close = first_close or next((tag for tag in tags if not tag.is_open), None)
        repeats = tags[0].is_open and not text[: tags[0].start].strip()  # template and model both wrote the tag
        if first_close is None:
            return _cut(text, [_Span(tags[0].end if repeats else 0, len(text))], [])
        if not repeats:
            scan.close_from_start(first_close)
    return scan.run(events)


class _Partners(NamedTuple):
    closing: dict[int, _Tag]
    """From the start of an opening tag to the tag that closes it."""
    opening: dict[int, _Tag]
    """The other way round."""


def _match_tags(tags: list[_Tag]) -> _Partners:
    """Pair the tags of each family as brackets are paired; an opening left over takes the next closing tag."""
    partners = _Partners({}, {})
    waiting: dict[str, list[_Tag]] = {}
    for tag in tags:
        stack = waiting.setdefault(tag.family, [])
        if tag.is_open:
            stack.append(tag)
        elif stack:
            opening = stack.pop()
            partners.closing[opening.start] = tag
            partners.opening[tag.start] = opening
    next_close: dict[str, _Tag] = {}
    for tag in reversed(tags):
        if not tag.is_open:
            next_close[tag.family] = tag
        elif tag.start not in partners.closing and tag.family in next_close:
            partners.closing[tag.start] = next_close[tag.family]
    return partners


class _TagScan:
    """One pass over the tags of a text; holds what has been found so far."""

    def __init__(self, text: str, partner: _Partners) -> None:
        self.text, self.partner = text, partner
        self.newlines = [match.start() for match in re.finditer("\n", text)]
        self.last = len(text.rstrip())
        self.position = 0
        self.state: State = "none"
        self.reasoning: list[_Span] = []
        self.answer: list[_Span] = []
        self.doubtful = False

    def run(self, events: list[_Tag | _Fence]) -> Split:
        fence: str | None = None
        for event in events:
            if event.start < self.position:
                continue  # inside a block that is read already
            if isinstance(event, _Fence):
                fence = _next_fence(fence, event.mark)
            elif fence is not None:
                continue
            elif not event.is_open:
                self.read_closing(event)
            elif not self.read_opening(event):
                return self.end_cut(event)
        return self.end()

    def close_from_start(self, tag: _Tag) -> None:
        """The text up to `tag` is reasoning."""
        self.state = "opened"
        self.reasoning, self.answer = [_Span(0, tag.start)], []
        self.position = tag.end

    def read_opening(self, tag: _Tag) -> bool:
        """Read the block that `tag` opens; False when it is never closed."""
        if not self.stands_free(tag):
            closing = self.partner.closing.get(tag.start)
            if closing and self.stands_alone(closing) and self.partner.opening.get(closing.start) == tag:
                self.doubtful = True
            return True
        closing = self.partner.closing.get(tag.start)
        if closing is None:
            return False
        self.answer.append(_Span(self.position, tag.start))
        self.reasoning.append(_Span(tag.end, closing.start))
        self.state = "closed" if self.state == "none" else self.state
        self.position = closing.end
        return True

    def read_closing(self, tag: _Tag) -> None:
        """Read a closing tag that no block has claimed."""
        if tag.start in self.partner.opening or tag.family == "details":
            return  # partner of a tag that is only talked about, or of a folded section that is not reasoning
        if not self.stands_free(tag):
            self.doubtful = self.doubtful or not self.reasoning
        elif not self.reasoning:
            self.close_from_start(tag)
        elif tag.end >= self.last:
            self.answer.append(_Span(self.position, tag.start))  # a stray tag at the very end closes nothing
            self.position = len(self.text)
        else:
            # The model closed the block twice: it went on reasoning after the first time.
            self.reasoning.append(_Span(self.position, tag.start))
            self.position = tag.end

    def end_cut(self, tag: _Tag) -> Split:
        before = _Span(self.position, tag.start)
        if not self.reasoning and self.text[: tag.start].strip():
            # An answer that lists the tag, or an answer that is followed by reasoning: nobody can tell.
            return _whole(self.text, "unsplittable")
        return _cut(self.text, [*self.reasoning, _Span(tag.end, len(self.text))], [*self.answer, before])

    def end(self) -> Split:
        if self.state == "none":
            return _whole(self.text, "unsplittable" if self.doubtful else "none")
        rest = _unwrap(self.text, self.position)
        return _assemble(self.text, self.reasoning, [*self.answer, *rest], self.state)

    def line_start(self, position: int) -> int:
        index = bisect_right(self.newlines, position - 1)
        return self.newlines[index - 1] + 1 if index else 0

    def stands_free(self, tag: _Tag) -> bool:
        """Whether `tag` stands where models put tags, and not in the middle of a sentence about tags."""
        begin = max(self.line_start(tag.start), self.position)
        if tag.start - begin <= _LOOK_BACK and not self.text[begin : tag.start].strip():
            return True
        before = self.text[max(begin, tag.start - _LOOK_BACK) : tag.start].strip()
        if before.startswith(">"):
            return False  # a quotation in Markdown
        if before[-1:] in _SENTENCE_ENDS or self.ends_line(tag):
            return True
        # A sentence about tags sets them apart with blanks; a model that closes a block mid-sentence does not.
        last = self.text[tag.start - 1]
        return not (last.isspace() or last in _OPENING_PUNCTUATION) and bool(self.reasoning or not tag.is_open)

    def ends_line(self, tag: _Tag) -> bool:
        return self.text[tag.end : tag.end + 1] in ("", "\r", "\n")

    def stands_alone(self, tag: _Tag) -> bool:
        """Whether `tag` has a line of its own."""
        begin = self.line_start(tag.start)
        alone = tag.start - begin <= _LOOK_BACK and not self.text[begin : tag.start].strip()
        return alone and self.ends_line(tag)


def _read_events(text: str) -> list[_Tag | _Fence]:
    """Fences and unquoted tags in order of appearance."""
    events: list[_Tag | _Fence] = []
    for match in _EVENT.finditer(text):
        group = match.lastgroup
        if group is None or group == "code":
            continue
        if group == "fence":
            events.append(_Fence(match.start(), match["fence"]))
            continue
        start, end = match.span()
        if _is_quoted(text, start, end):
            continue
        side, family = group.split("_", 1)
        name = _SAME_AS.get(match[group].casefold(), match[group].casefold()) if family == "xml" else family
        events.append(_Tag(start, end, name, side == "open"))
    return events


def _is_quoted(text: str, start: int, end: int) -> bool:
    """Whether quotation marks open before and close behind the tag; in `"no"</think>"No"` they do the opposite."""
    if not start or end >= len(text) or text[start - 1] not in _QUOTES or text[end] not in _QUOTES:
        return False
    before = text[start - 2 : start - 1]
    return not before or before.isspace() or before in _OPENING_PUNCTUATION


def _next_fence(fence: str | None, found: str) -> str | None:
    """The fence that is open after a line that starts with `found`."""
    if fence is None:
        return found
    return None if found[0] == fence[0] and len(found) >= len(fence) else fence


def _unwrap(text: str, position: int) -> list[_Span]:
    """The answer from `position` on, out of the tags that some models put around it."""
    match = _WRAPPER.match(text, position)
    if match is None:
        return [_Span(position, len(text))]
    closing = {
        "xml": f"</{match['xml']}>",
        "solution": "<|end_of_solution|>",
        "cohere": match[0].strip().replace("START", "END"),
        "xtml": "<|close|>response<|sep|>",
    }[match.lastgroup or "xml"]
    end = text.find(closing, match.end())
    if end < 0:
        return [_Span(match.end(), len(text))]
    return [_Span(match.end(), end), _Span(end + len(closing), len(text))]


# ------------------------------------------------------------------------------------------------------------- harmony

_HARMONY_HEADER = re.compile(
    r"(?:<\|start\|>(?P<role>[^<]*))?(?:<\|channel\|>(?P<channel>[^<]*))?(?:<\|constrain\|>[^<]*)?<\|message\|>"
)
_HARMONY_END = re.compile(r"<\|(?:end|return|call|start|channel)\|>")
_HARMONY_SIGN = re.compile(r"<\|start\|>[^<]*<\|channel\|>|<\|channel\|>final[^<]*<\|message\|>")
_STRIPPED_HARMONY = re.compile(
    r"\s*(?:analysis|commentary)(?=[A-Z\"'(“])|\s*analysis[\s\S]*?assistant(?:final|commentary)"
)
"""What is left of channels when the special tokens were removed: their names run into the text."""


def _is_harmony(text: str, *, opened: bool) -> bool:
    beginning = text.lstrip()
    if beginning.startswith("<|channel|>"):
        return True
    if beginning.startswith("<|start|>") and "<|message|>" in text:
        return True
    sign = _HARMONY_SIGN.search(text)
    if sign is None:
        return False
    # The text may start inside a message: then the first control token ends it.
    before = text[: sign.start()].rstrip()
    return opened or before.endswith(("<|end|>", "<|return|>", "<|call|>"))


def _split_harmony(text: str, *, opened: bool) -> Split:
    """Sort messages by channel; tool calls and tool results are neither reasoning nor answer."""
    reasoning: list[_Span] = []
    answer: list[_Span] = []
    position = 0
    header = _HARMONY_HEADER.search(text)
    lead = _Span(0, header.start() if header else len(text))
    if text[lead.start : lead.end].strip():
        end = _HARMONY_END.search(text)
        lead = _Span(0, end.start() if end else len(text))
        if not text[: lead.end].strip():
            return _whole(text, "unsplittable")  # control tokens that form no message
        reasoning.append(lead)
    finished = False
    while header:
        end = _HARMONY_END.search(text, header.end())
        position = end.start() if end else len(text)
        body = _Span(header.end(), position)
        place = _place_of(header)
        if place == "reasoning":
            reasoning.append(body)
        elif place == "answer":
            answer.append(body)
        finished = finished or place in ("answer", "tool")
        header = _HARMONY_HEADER.search(text, position)
    if not finished and not reasoning:
        return _whole(text, "unsplittable")
    return _assemble(text, reasoning, answer, "harmony" if finished else "cut")


def _place_of(header: re.Match[str]) -> Literal["reasoning", "answer", "tool"]:
    role, channel = (header["role"] or "assistant").split(), (header["channel"] or "final").split()
    recipient = any(word.startswith("to=") for word in (*role, *channel))
    if recipient or (role and role[0] != "assistant"):
        return "tool"
    return "reasoning" if channel[:1] == ["analysis"] else "answer"


# -------------------------------------------------------------------------------------------------------------- labels

_REASONING_LABELS = (
    r"(?:my |internal |private )?(?:reasoning|thinking|thoughts?|thought process|rationale|scratchpad)"
    r"|chain[ -]of[ -]thought"
    r"|here(?: i|'|’)s my thought process"
)
_ANSWER_LABELS = (
    r"(?:my |final |customer[ -]facing )?(?:answer|response|output|reply|message|e-?mail)|here(?: i|'|’)s my response"
)


def _label(words: str) -> str:
    """A label on a line of its own or before its text: `Word:`, `**Word:**`, `**Word**:`, `### Word`."""
    mark = r"[*_]{0,3}"
    return (
        rf"^[ \t]{{0,8}}(?:{mark}(?:{words}){mark}[ \t]{{0,4}}[:：]{mark}"
        rf"|\#{{1,6}}[ \t]{{1,4}}{mark}(?:{words}){mark}[ \t]{{0,4}}[:：]?{mark}(?=[ \t]{{0,8}}\r?$))"
    )


_REASONING_LABEL = re.compile(_label(_REASONING_LABELS), re.IGNORECASE | re.MULTILINE)
_ANSWER_LABEL = re.compile(_label(_ANSWER_LABELS), re.IGNORECASE | re.MULTILINE)
_LONGEST_PREAMBLE = 160  # characters; a longer first paragraph is an answer, not "Sure, here it is:"


def _split_labels(text: str) -> Split:
    reasoning = _REASONING_LABEL.search(text)
    if reasoning is None:
        return _whole(text, "none")
    preamble = text[: min(reasoning.start(), 4 * _LONGEST_PREAMBLE)].strip()
    if len(preamble) > _LONGEST_PREAMBLE or "\n" in preamble or _ANSWER_LABEL.match(preamble):
        return _whole(text, "none")
    answer = _ANSWER_LABEL.search(text, reasoning.end())
    if answer is None:
        return _whole(text, "unsplittable")
    pieces = [_Span(0, reasoning.start()), _Span(answer.end(), len(text))]
    return _assemble(text, [_Span(reasoning.end(), answer.start())], pieces, "labelled")


# -------------------------------------------------------------------------------------------------------------- pieces


def _whole(text: str, state: State) -> Split:
    return Split(None, text, state, 0)


def _cut(text: str, reasoning: list[_Span], answer: list[_Span]) -> Split:
    return _assemble(text, reasoning, answer, "cut")


def _assemble(text: str, reasoning: list[_Span], answer: list[_Span], state: State) -> Split:
    """Strip the pieces, drop the empty ones and join the rest by a blank line."""
    thoughts = [piece for span in reasoning if (piece := text[span.start : span.end].strip())]
    start = len(text)
    pieces: list[str] = []
    for span in answer:
        raw = text[span.start : span.end]
        if piece := raw.strip():
            if not pieces:
                start = span.start + len(raw) - len(raw.lstrip())
            pieces.append(piece)
    return Split("\n\n".join(thoughts) if reasoning else None, "\n\n".join(pieces), state, start)
