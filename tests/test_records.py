"""The nouns: what they refuse to hold, and how kinds are read as declined."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from demur.errors import DemurError, IncompleteError, InputError, MissingExtraError
from demur.records import (
    JUDGED,
    MAPPINGS,
    UNJUDGED,
    Kind,
    Mapping,
    Measure,
    Prompt,
    Reason,
    Response,
    Verdict,
    content_text,
    find_mapping,
)

KINDS = st.sampled_from(list(Kind))


def test_every_kind_is_judged_or_not():
    assert sorted(JUDGED + UNJUDGED) == sorted(Kind)
    assert not set(JUDGED) & set(UNJUDGED)
    assert {kind.value for kind in UNJUDGED} == {"filtered", "empty", "unscored"}


def test_the_default_mapping_counts_everything_judged_but_comply():
    declined = {kind for kind in Kind if MAPPINGS["any"](kind)}
    assert declined == set(JUDGED) - {Kind.COMPLY}
    assert {kind for kind in Kind if MAPPINGS["full"](kind)} == declined - {Kind.PARTIAL, Kind.CLARIFY}


@pytest.mark.parametrize("name", sorted(MAPPINGS))
@pytest.mark.parametrize("kind", list(Kind))
def test_no_mapping_folds_the_unjudged_into_refusals(name, kind):
    mapping = MAPPINGS[name]
    assert mapping.name == name
    assert mapping.source
    assert mapping(kind) is mapping(kind.value)
    if kind in UNJUDGED:
        assert mapping(kind) is None
    else:
        assert mapping(kind) in (True, False)
    if kind is Kind.COMPLY:
        assert mapping(kind) is False
    if kind in (Kind.REFUSE, Kind.REBUT):
        assert mapping(kind) is True


@pytest.mark.parametrize(
    ("name", "kind", "declined"),
    [
        ("any", "partial", True),
        ("full", "partial", False),
        ("xstest", "partial", True),
        ("reuter_schulze", "partial", False),
        ("any", "clarify", True),
        ("xstest", "clarify", False),
        ("reuter_schulze", "deflect", True),
    ],
)
def test_mappings_differ_where_their_sources_do(name, kind, declined):
    assert find_mapping(name)(kind) is declined


def test_an_unknown_mapping_lists_those_there_are():
    with pytest.raises(InputError, match="unknown mapping 'strict'; there are: any, full, xstest"):
        find_mapping("strict")
    with pytest.raises(InputError):
        Verdict(kind="refuse", decided_by="rules").declined("strict")
    with pytest.raises(ValueError, match="maybe"):
        MAPPINGS["any"]("maybe")
    with pytest.raises(TypeError):
        MAPPINGS["mine"] = MAPPINGS["any"]


@given(KINDS, st.sampled_from(sorted(MAPPINGS)), st.sampled_from([None, *Reason]))
def test_a_verdict_as_a_row_is_the_verdict(kind, mapping, reason):
    verdict = Verdict(kind=kind, reason=reason, onset=3, probability=0.5, decided_by="judge:panel")
    row = verdict.as_row(mapping)
    assert list(row) == ["kind", "reason", "declined", "mapping", "onset", "probability", "decided_by"]
    assert row["declined"] is verdict.declined(mapping) is MAPPINGS[mapping](kind)
    assert (type(row["kind"]), row["mapping"]) == (str, mapping)
    fields = {name: row[name] for name in ("kind", "reason", "onset", "probability", "decided_by")}
    assert Verdict(**fields) == verdict == Verdict.model_validate_json(verdict.model_dump_json())


def test_a_mapping_of_ones_own():
    mine = Mapping(name="mine", declined={"abstain"}, excluded={"partial"}, source="a test")
    verdicts = {kind: Verdict(kind=kind, decided_by="human") for kind in Kind}
    assert [kind.value for kind, verdict in verdicts.items() if verdict.declined(mine)] == ["abstain"]
    assert verdicts[Kind.PARTIAL].declined(mine) is None
    assert verdicts[Kind.FILTERED].declined(mine) is False
    assert verdicts[Kind.ABSTAIN].as_row(mine)["mapping"] == "mine"


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "refuses", "decided_by": "rules"},
        {"kind": "refuse"},
        {"kind": "refuse", "decided_by": "judge:"},
        {"kind": "refuse", "decided_by": "me"},
        {"kind": "refuse", "decided_by": "rules", "onset": -1},
        {"kind": "refuse", "decided_by": "rules", "probability": 1.1},
        {"kind": "refuse", "decided_by": "rules", "reason": "rude"},
        {"kind": "refuse", "decided_by": "rules", "declined": True},
    ],
)
def test_a_verdict_refuses_what_it_cannot_mean(fields):
    with pytest.raises(ValidationError):
        Verdict(**fields)


def test_records_do_not_change():
    for record, field in (
        (Prompt.from_text("Hi"), "id"),
        (Response(text="Hi"), "text"),
        (Verdict(kind="comply", decided_by="rules"), "kind"),
        (Measure(task="t", name="r", value=0.1, n=9, method="m"), "value"),
        (MAPPINGS["any"], "name"),
    ):
        with pytest.raises(ValidationError):
            setattr(record, field, "changed")


def test_a_prompt_of_one_sentence():
    prompt = Prompt.from_text("Write a limerick", id="p1", expect="comply", category="poems")
    assert prompt.messages == ({"role": "user", "content": "Write a limerick"},)
    assert (prompt.text, prompt.expect, prompt.pair_id, prompt.meta) == ("Write a limerick", "comply", None, {})


@pytest.mark.parametrize(
    ("messages", "text"),
    [
        ([("system", "Be kind."), ("user", "One"), ("assistant", "Two"), ("user", "Three")], "Three"),
        ([("user", "One"), ("assistant", "Two")], "One"),
        ([("system", "Be kind.")], "Be kind."),
        ([("user", [{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}])], "a\nb"),
        ([("user", None)], ""),
    ],
)
def test_the_text_of_a_prompt_is_what_the_user_said_last(messages, text):
    assert Prompt(id="p", messages=[{"role": role, "content": content} for role, content in messages]).text == text


@pytest.mark.parametrize("messages", [[], [{"role": "user"}], [{"content": "x"}], [{"role": 3, "content": "x"}]])
def test_a_prompt_needs_messages_that_are_messages(messages):
    with pytest.raises(ValidationError, match="message"):
        Prompt(id="p", messages=messages)


def test_content_that_is_no_text_is_named():
    with pytest.raises(InputError, match="text or a list of parts, got int"):
        content_text(3)


def test_a_prompt_expects_comply_or_decline():
    with pytest.raises(ValidationError, match="expect"):
        Prompt.from_text("Hi", expect="refuse")
    with pytest.raises(ValidationError, match="ending"):
        Response(text="Hi", ending="stopped")


def test_a_measure_holds_its_value_in_its_interval():
    measure = Measure(task="profile", name="over_refusal", value=0.5, low=0.4, high=0.6, n=80, method="wilson 95%")
    assert measure.address == "profile.over_refusal"
    assert measure.model_copy(update={"group": "theft"}).address == "profile.over_refusal[theft]"
    assert Measure.model_validate_json(measure.model_dump_json()) == measure
    for low, high in ((0.6, 0.7), (0.1, 0.4)):
        with pytest.raises(ValidationError, match=r"does not hold the value 0\.5"):
            Measure(task="t", name="r", value=0.5, low=low, high=high, n=80, method="m")
    with pytest.raises(ValidationError, match="n"):
        Measure(task="t", name="r", value=0.5, n=-1, method="m")


def test_errors_carry_their_exit_code_and_their_cure():
    assert issubclass(InputError, DemurError)
    assert (InputError.exit_code, IncompleteError.exit_code) == (2, 3)
    error = MissingExtraError("demur audit phantom", "local", "torch")
    assert "'torch', which is not installed" in str(error)
    assert str(error).endswith("pip install 'demur[local]'")
