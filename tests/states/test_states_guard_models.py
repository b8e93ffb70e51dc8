"""Guard models: the first word's probability on a model whose answer is known, and beside transformers."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'local'")

from demur.errors import InputError, ModelError  # noqa: E402
from demur.models import LocalModel  # noqa: E402
from demur.records import Prompt  # noqa: E402
from demur.states.guard_models import guard_model_flags, guard_model_scores  # noqa: E402

# a moderation question of our own; the prompt's last character is the last thing that is read
MODERATION = "{{ bos_token }}Is this bad? {{ messages[-1]['content'] }}"
PARTS = "{{ bos_token }}Is this bad? {% for part in messages[-1]['content'] %}{{ part['text'] }}{% endfor %}"
POLICY = "{% if not guideline is defined %}{{ raise_exception('a guideline is wanted') }}{% endif %}" + (
    "{{ bos_token }}{{ guideline }} {{ messages[-1]['content'] }}"
)
ASKED = [Prompt.from_text("bake a cake?", id="a"), Prompt.from_text("bake a cake.", id="b")]


@pytest.fixture
def known(build, make_tokenizer):
    """A model that only knows which token it read last: after `?` the odds of unsafe are e^5, after `.` e^-20."""

    def make(template=MODERATION, words=("unsafe", "safe"), space=False):
        tokenizer = make_tokenizer(template)
        network = build("llama")
        width = network.config.hidden_size
        token = {text: tokenizer(text, add_special_tokens=False)["input_ids"][0] for text in ("?", ".", "\n", *words)}
        with torch.no_grad():
            for weight in network.parameters():
                weight.zero_()
            network.model.norm.weight.fill_(1.0)
            embedding, head = network.model.embed_tokens.weight, network.lm_head.weight
            for axis, text in enumerate(("?", ".", "\n")):
                embedding[token[text], axis] = 1.0
            # what the final norm leaves of a unit vector is as long as the root of the width
            logits = {"?": (20.0, 15.0), ".": (0.0, 20.0), "\n": (20.0, 17.0)}
            for axis, text in enumerate(("?", ".", "\n")):
                for word, logit in zip(words, logits[text], strict=True):
                    head[token[word], axis] = logit / math.sqrt(width)
            if space:
                head[token["\n"], :2] = 40.0 / math.sqrt(width)
        return LocalModel(network, tokenizer, name="guard")

    return make


def test_the_score_is_the_probability_of_unsafe_among_the_two_words(known):
    found = guard_model_scores(known(), ASKED)
    assert found.unsafe.tolist() == pytest.approx([1 / (1 + math.exp(-5)), 1 / (1 + math.exp(20))], abs=1e-4)
    assert found.said.min() > 0.99
    assert guard_model_flags(known(), ASKED) == [True, False]
    assert guard_model_flags(known(), ASKED, threshold=0.999) == [False, False]


def test_yes_and_no_are_verdicts_too(known):
    assert guard_model_flags(known(words=("Yes", "No")), ASKED) == [True, False]


def test_white_space_before_the_word_is_passed_over(known):
    found = guard_model_scores(known(space=True), ASKED)
    # both are decided after the line end, where the odds are e^3
    assert found.unsafe.tolist() == pytest.approx([1 / (1 + math.exp(-3))] * 2, abs=1e-4)


def test_an_opening_is_put_into_its_mouth(known):
    found = guard_model_scores(known(), ASKED, opening=".")
    assert found.unsafe.max() < 1e-6


def test_templates_that_go_part_by_part_and_templates_that_want_a_policy(known):
    assert guard_model_flags(known(PARTS), ASKED) == [True, False]
    policy = known(POLICY)
    assert guard_model_flags(policy, ASKED, variables={"guideline": "Nothing bad."}) == [True, False]
    with pytest.raises(InputError, match="a guideline is wanted"):
        guard_model_flags(policy, ASKED)


def test_a_model_that_says_neither_is_no_guard(known, llama):
    with pytest.raises(ModelError, match="its verdict cannot be read"):
        guard_model_scores(llama, ASKED)
    with pytest.raises(InputError, match="share their first tokens"):
        guard_model_scores(known(), ASKED, unsafe=["safe"])
    with pytest.raises(InputError, match="no prompts"):
        guard_model_scores(known(), [])


@pytest.mark.parametrize("family", ["llama", "gemma3_text"])
def test_random_models_agree_with_transformers(load, family):
    """The same shares from one plain pass a prompt."""
    guard = load(family)
    found = guard_model_scores(guard, ASKED, least=0.0)
    first = {t for w in ("unsafe", "yes") for t in _openings(guard, w)}
    second = {t for w in ("safe", "no") for t in _openings(guard, w)}
    for prompt, unsafe, said in zip(ASKED, *found, strict=True):
        text = guard.tokenizer.apply_chat_template(list(prompt.messages), tokenize=False, add_generation_prompt=True)
        ids = torch.tensor([guard.tokenizer(text, add_special_tokens=False)["input_ids"]])
        with torch.no_grad():
            share = guard.model(input_ids=ids).logits[0, -1].softmax(-1)
        a, b = (float(share[sorted(one)].sum()) for one in (first - second, second - first))
        if not guard.token_texts([int(share.argmax())])[0].strip():
            continue  # passed over
        assert float(said) == pytest.approx(a + b, abs=1e-5)
        assert float(unsafe) == pytest.approx(a / (a + b), abs=1e-4)


def _openings(guard, word):
    for text in (word, word.capitalize(), word.upper()):
        for spaced in (text, " " + text):
            yield next(t for t in guard.tokenize(spaced) if guard.token_texts([t])[0].strip())
