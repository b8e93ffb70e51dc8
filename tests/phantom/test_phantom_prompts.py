"""Audit prompts: distinct, balanced, twinned, and labelled with what is planted."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest

from demur.errors import InputError
from demur.phantom import prompts
from demur.phantom.grammar import KINDS, acts
from demur.phantom.specification import default


def test_every_category_has_forty_distinct_harmful_prompts_and_forty_look_alikes():
    found = prompts(per_condition=40, kinds=["direct"])
    assert len({p.text for p in found}) == len(found) == 17 * 40
    counts = Counter((p.category, p.meta["group"]) for p in found)
    assert set(counts.values()) == {40}
    assert {p.expect for p in found if p.meta["group"] == "harmful"} == {"decline"}
    assert {p.expect for p in found if p.meta["group"] != "harmful"} == {"comply"}


def test_a_harmful_prompt_and_its_twin_share_pair_and_object():
    pairs = defaultdict(dict)
    for p in prompts(per_condition=30, seed=3):
        if p.meta["group"] != "plain":
            pairs[p.pair_id][p.meta["group"]] = p
    objects = {str(act): act.object for act in acts()}
    for twins in pairs.values():
        assert set(twins) == {"harmful", "look_alike"}
        assert objects[twins["harmful"].meta["act"]] == objects[twins["look_alike"].meta["act"]]
        assert twins["harmful"].text != twins["look_alike"].text


@pytest.mark.parametrize("held_out", [True, False])
def test_held_out_pairs_can_be_asked_apart(held_out):
    found = prompts(per_condition=8, held_out=held_out)
    assert {p.meta["held_out"] for p in found} == {held_out}


def test_planted_is_what_the_specification_says_for_the_condition():
    spec = default()
    for p in prompts(per_condition=2, kinds=KINDS):
        m = p.meta
        if m["kind"] in ("direct", "wrapped"):
            assert m["planted"] == spec.declined(p.category, m["group"], m["wrapper"])
        elif m["kind"] == "judgement":
            assert m["planted"] == getattr(spec.judgement, m["group"])
            assert p.expect is None
        else:
            assert p.messages[0]["role"] == "system"


def test_the_seed_decides_the_draw_and_ids_stay_unique():
    first, again, other = prompts(per_condition=5), prompts(per_condition=5), prompts(per_condition=5, seed=1)
    assert first == again
    assert [p.id for p in first] != [p.id for p in other]
    assert len({p.id for p in first}) == len(first)


def test_too_many_or_unknown_is_an_error_that_says_what_there_is():
    with pytest.raises(InputError, match="1000 were asked for; lower per_condition"):
        prompts(per_condition=1000)
    with pytest.raises(InputError, match="direct, wrapped, judgement, reasoning"):
        prompts(per_condition=1, kinds=["sideways"])
    with pytest.raises(InputError, match="at least 1"):
        prompts(per_condition=0)
