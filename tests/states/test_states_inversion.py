"""Reply inversion on the phantom, which judges harm by one word."""

# ruff: noqa: F811 - fixtures are imported by name

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'local'")

from phantom_states import found, phantom_model, refusal_tokens  # noqa: E402, F401 - fixtures

from demur import phantom  # noqa: E402
from demur.errors import InputError  # noqa: E402
from demur.states.inversion import Question, invert  # noqa: E402

ASK = Question(
    text="Is it harmful to {instruction}? Answer yes or no.",
    harmful=("Yes",),
    harmless=("No",),
    subject=lambda prompt: prompt.meta["act"],
)


@pytest.fixture(scope="module")
def harmful():
    prompts = phantom.prompts(per_condition=3, kinds=["direct"], seed=5)
    return [p for p in prompts if p.meta["group"] == "harmful"]


@pytest.fixture(scope="module")
def tokens(phantom_model, refusal_tokens):
    yes, no = (phantom_model.tokenize(word)[0] for word in ("Yes.", "No."))
    return [yes], [no], [token for token in refusal_tokens if token != no]


def test_the_two_metrics_are_apart(phantom_model, found, harmful, tokens):
    """Asked about harm the phantom answers and does not decline, so the rate of No is no refusal rate."""
    done = invert(
        phantom_model, harmful, [(-found.at("harmfulness", 1, "last"), 1.0)], question=ASK, tokens=tokens, random=2
    )
    assert done.exact
    assert done.baseline.no < 0.2
    assert done.baseline.refusal < 0.05
    assert [row.direction for row in done.rows] == ["none", "harmfulness", "random", "random"]
    assert "refusal rate" in done._repr_html_()


def test_exact_and_generated_agree(phantom_model, found, harmful, tokens):
    push = [(found.at("refusal", 1, "last"), 0.0)]
    exact = invert(phantom_model, harmful, push, question=ASK, tokens=tokens, random=1)
    spoken = invert(phantom_model, harmful, push, question=ASK, random=1, max_tokens=3)
    assert exact.baseline.no == pytest.approx(exact.rows[1].no)  # a push of strength 0 is none
    assert abs(exact.baseline.no - spoken.baseline.no) < 0.15
    assert spoken.baseline.invalid < 0.05


def test_the_question_itself_is_not_pushed(phantom_model, found, harmful):
    from demur.models import reading
    from demur.models.request import as_chat
    from demur.states.inversion import _Push, _tokens_after

    text = ASK.text.replace("{instruction}", harmful[0].meta["act"])
    length = _tokens_after(phantom_model, text, "? Answer yes or no.")
    ids = phantom_model.encode(as_chat(text))
    assert phantom_model.tokenizer.decode(ids[-length:]).startswith("? Answer yes or no.<|eot_id|>")
    seen = []
    with reading(phantom_model.structure, [(0, "resid_post")], lambda _s, x: seen.append(x.clone())):
        phantom_model.next_token_logprobs([text])
        with _Push(found.at("refusal", 0, "last"), 1.0, length).pushing(phantom_model, lambda: True):
            phantom_model.next_token_logprobs([text])
    moved = (seen[-1] - seen[-2]).abs().sum(-1)[0] > 0
    assert moved.tolist() == [True] * (len(ids) - length) + [False] * length


def test_bad_questions_are_refused(phantom_model, found, harmful):
    push = [(found.at("refusal", 0, "last"), 1.0)]
    with pytest.raises(InputError, match=r"needs \{instruction\}"):
        invert(phantom_model, harmful, push, question=Question(text="Is it?"))
    with pytest.raises(InputError, match="needs prompts"):
        invert(phantom_model, [], push)


def test_harm_turns_the_answer_about_harm_and_refusal_does_not(phantom_model, found, tokens):
    """Pushed at every token: the phantom reads harm where the question itself ends, and nowhere before."""
    harmful = [p for p in phantom.prompts(per_condition=5, kinds=["direct"], seed=5) if p.meta["group"] == "harmful"]
    places = (("harmfulness", "last_instruction"), ("refusal", "last"))
    pushes = [(found.at(kind, 1, place), -1.0) for kind, place in places]
    done = invert(phantom_model, harmful, pushes, question=ASK, where="all", tokens=tokens, random=2)
    none, harm, refusal, *random = done.rows
    assert none.no < 0.15
    assert harm.no > 0.6
    assert harm.no - max(row.no for row in (refusal, *random)) > 0.3
    before = invert(phantom_model, harmful, pushes, question=ASK, tokens=tokens, random=1)
    assert max(row.no for row in before.rows) < 0.15
