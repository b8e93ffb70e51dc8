"""demur-core: what the issue of an audit's prompts promises, counted in the set itself."""

import re
from collections import Counter

import pytest

from demur.errors import InputError
from demur.prompts.core import EVERYDAY, HARMS, LANGUAGES, LIMITS, card, demur_core
from demur.prompts.variety import cells

EVERY = demur_core((*HARMS, *LIMITS, EVERYDAY), languages=LANGUAGES)
ENGLISH = [prompt for prompt in EVERY if prompt.meta["language"] == "en"]
FEWEST_PAIRS = 40


def test_every_category_has_forty_pairs_or_more_and_the_controls_are_a_hundred_and_fifty():
    pairs = Counter((prompt.category, prompt.expect) for prompt in ENGLISH)
    for category in (*HARMS, *LIMITS):
        assert pairs[category, "decline"] == pairs[category, "comply"] >= FEWEST_PAIRS
    assert pairs[EVERYDAY, "comply"] == 150
    assert pairs[EVERYDAY, "decline"] == 0


def test_two_hundred_pairs_exist_in_six_more_languages():
    assert len(LANGUAGES) == 7
    for language in set(LANGUAGES) - {"en"}:
        own = [prompt for prompt in EVERY if prompt.meta["language"] == language]
        families = Counter(prompt.pair_id for prompt in own)
        assert len(families) == 200
        assert set(families.values()) == {2}
        english = {prompt.pair_id: prompt.category for prompt in ENGLISH}
        assert all(english[prompt.pair_id] == prompt.category for prompt in own)


def test_ids_and_sentences_occur_once():
    assert max(Counter(prompt.id for prompt in EVERY).values()) == 1
    assert max(Counter((prompt.meta["language"], prompt.text.lower()) for prompt in EVERY).values()) == 1


def test_no_template_makes_up_more_than_a_tenth_of_a_cell():
    for cell in cells(ENGLISH):
        assert cell.opening_share <= 0.1, cell
        assert cell.ending_share <= 0.1, cell


def test_the_two_sides_of_a_pair_share_their_trigger_words():
    for prompt in EVERY:
        if prompt.pair_id is not None:
            for word in prompt.meta["trigger"].split("; "):
                assert word.lower() in prompt.text.lower(), prompt.id


def test_sentences_are_short_name_nobody_and_lead_nowhere():
    for prompt in ENGLISH:
        assert 3 <= len(prompt.text.split()) <= 90, prompt.id
        # addresses that can exist nowhere are all there are
        assert not re.search(r"https?://|\b\d{7,}\b|@(?!example\.)", prompt.text), prompt.id


def test_the_card_counts_what_is_there():
    told = card()
    assert told["prompts"]["all"] == len(EVERY)
    assert told["cells"] == [cell._asdict() for cell in cells(EVERY)]
    for category, counts in told["written_and_kept"].items():
        kept = sum(p.category == category and p.expect == "comply" for p in ENGLISH)
        assert counts["kept"] == kept
        assert counts["written"] == kept + counts["dropped_disagreement"] + counts["dropped_unread"]


def test_a_choice_is_seeded_and_keeps_pairs_whole():
    chosen = demur_core(pairs=5, seed=3)
    assert chosen == demur_core(pairs=5, seed=3)
    assert chosen != demur_core(pairs=5, seed=4)
    assert set(Counter(prompt.pair_id for prompt in chosen).values()) == {2}
    assert Counter(prompt.category for prompt in chosen) == dict.fromkeys(HARMS, 10)
    # a limit takes the first ones: they must not be all of one kind
    assert len({prompt.category for prompt in chosen[:20]}) > 5


def test_languages_are_compared_on_the_same_pairs():
    chosen = demur_core(pairs=10, languages=("en", "hi"))
    spoken = {}
    for prompt in chosen:
        spoken.setdefault(prompt.pair_id, set()).add(prompt.meta["language"])
    assert set(map(frozenset, spoken.values())) == {frozenset({"en", "hi"})}


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"categories": ["cooking"]}, "no category 'cooking'; there are: violence"),
        ({"languages": ["xx"]}, "no language 'xx'; there are: en"),
        ({"pairs": 0}, "at least 1"),
    ],
)
def test_what_is_not_there_is_said(options, complaint):
    with pytest.raises(InputError, match=complaint):
        demur_core(**options)
