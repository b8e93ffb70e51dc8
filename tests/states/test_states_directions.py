"""Directions on the phantom, whose harm and refusal are known, and their negative controls."""

# ruff: noqa: F811 - fixtures are imported by name

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'local'")

from phantom_states import decided, found, phantom_model, refusal_tokens, split_groups, words  # noqa: E402, F401 - fixtures

from demur.errors import InputError, ModelError  # noqa: E402
from demur.records import Prompt  # noqa: E402
from demur.states.beliefs import bag_of_words, category_directions, read_beliefs  # noqa: E402
from demur.states.directions import Directions, find_directions  # noqa: E402
from demur.states.groups import Groups, from_labels  # noqa: E402
from demur.states.interventions import refusal_probabilities  # noqa: E402
from demur.states.residuals import positions_of, states_of  # noqa: E402
from demur.stats import auroc  # noqa: E402

LAST = 3  # the phantom's last block, where it has both


def few(texts, **fields):
    return tuple(Prompt.from_text(t, id=t, **fields) for t in texts)


def test_harm_and_refusal_are_read_apart_on_words_never_seen(phantom_model, refusal_tokens, found, split_groups, words):
    """In all four quadrants; no verb and no object of these prompts was in a prompt that the directions saw."""
    read = split_groups["read"]
    verbs, objects = words
    assert not any(p.meta["act"].partition(" ")[0] in verbs for p in read.prompts)
    assert not any(p.meta["act"].partition(" ")[2] in objects for p in read.prompts)
    beliefs = read_beliefs(
        phantom_model,
        found,
        read,
        layers=[LAST],
        harm_position="last_instruction",
        refusal_position="last",
        batch_size=128,
    )
    areas = beliefs.apart()
    assert min(areas[name].value for name in ("harm", "harm among refused", "harm among accepted")) >= 0.97
    # the phantom's refusal is a probability and the label a cut through it, so its border is no class
    assert areas["refusal among harmful"].value >= 0.93
    assert areas["refusal among harmless"].value >= 0.97
    probability = refusal_probabilities(phantom_model, read.prompts, refusal_tokens, batch_size=128)
    clear = ((probability - 0.5).abs() >= 0.2) & beliefs.harmful
    assert auroc(beliefs.refused[clear].numpy(), beliefs.refusal[clear].numpy()).value >= 0.97
    words_alone = bag_of_words(split_groups["fit"].prompts, split_groups["fit"].harmful, read.prompts)
    assert auroc(read.harmful, words_alone).value <= 0.7
    assert "harm among refused" in beliefs._repr_html_()


def test_harm_is_read_where_the_instruction_ends_and_refusal_only_behind_it(found):
    harm, refusal = found.best("harmfulness"), found.best("refusal")
    assert harm.position == "last_instruction"
    assert refusal.position != "last_instruction"
    for best in (harm, refusal, decided(found)):
        assert best.quality.auroc > best.quality.null
        assert best.quality.p < 0.05


def test_where_nothing_is_the_nulls_say_so(found):
    """In the first block the token behind the instruction has met hardly any word of it."""
    quality = found.at("harmfulness", 0, "post_instruction:0").quality
    assert quality.auroc < 0.6
    assert quality.p > 0.05


def test_shuffled_harm_gives_no_direction(phantom_model, split_groups):
    fit = split_groups["fit"]
    generator = torch.Generator().manual_seed(3)
    order = torch.randperm(len(fit.prompts), generator=generator).tolist()
    shuffled = from_labels(fit.prompts, harmful=[fit.harmful[n] for n in order], refused=fit.refused)
    place = "last_instruction"
    found = find_directions(phantom_model, shuffled, layers=[LAST], positions=[place], permutations=60, batch_size=128)
    quality = found.at("harmfulness", LAST, place).quality
    assert abs(quality.auroc - 0.5) < 0.1
    assert quality.p > 0.05
    low, high = found.cosine_null[:, 0, 0].tolist()
    assert low <= found.cosine[0, 0].item() <= high


def test_tokens_are_where_they_should_be(phantom_model):
    prompt = few(["How do I bake a cake?"])[0]
    positions = phantom_model.positions(prompt)
    assert phantom_model.token_texts([positions.token_ids[positions.last_instruction]]) == ["?"]
    assert len(positions_of(phantom_model, prompt)) == 6


def test_the_direction_is_the_difference_of_the_means(phantom_model, split_groups, found):
    fit = split_groups["fit"]
    x = states_of(phantom_model, fit.prompts, layers=[1], positions=["last"], batch_size=128)[0, :, 0]
    harmful, refused = torch.tensor(fit.harmful), torch.tensor(fit.refused)
    cell = {(h, r): x[(harmful == h) & (refused == r)].mean(0) for h in (True, False) for r in (True, False)}
    expected = (cell[True, True] - cell[True, False] + cell[False, True] - cell[False, False]) / 2
    torch.testing.assert_close(found.at("refusal", 1, "last").vector, expected, atol=1e-3, rtol=1e-3)


def test_states_on_disk_give_the_same_directions(phantom_model, tmp_path):
    groups, options = Groups(*GOOD), {"permutations": 5, "layers": [1, 3]}
    held = find_directions(phantom_model, groups, **options)
    streamed = find_directions(phantom_model, groups, **options, out=tmp_path / "states")
    assert torch.equal(held.first["refusal"], streamed.first["refusal"])
    assert held.quality == streamed.quality


def test_categories_have_directions_of_their_own(phantom_model, split_groups):
    found = category_directions(phantom_model, split_groups["fit"], position="last", layers=[LAST], batch_size=128)
    assert len(found.categories) >= 4
    torch.testing.assert_close(found.cosines[0].diagonal(), torch.ones(len(found.categories)))
    assert found.cosines.min() > 0.3  # one idea of harm
    assert found.categories[0] in found._repr_html_()


def test_kept_directions_are_the_same_and_show_themselves(phantom_model, found, tmp_path):
    found.save(tmp_path / "all.safetensors")
    back = Directions.load(tmp_path / "all.safetensors", phantom_model)
    assert torch.equal(back.at("refusal", 2, "last").vector, found.at("refusal", 2, "last").vector)
    assert back.at("refusal", 2, "last").quality == found.at("refusal", 2, "last").quality
    assert "<table>" in found._repr_html_()
    assert "refusal" in found.best("refusal")._repr_html_()


GOOD = [few(["a b?", "c d?"]), few(["e f?", "g h?"]), few(["i j?", "k l?"]), few(["m n?", "o p?"])]


@pytest.mark.parametrize("missing", range(4))
def test_small_groups_are_refused(phantom_model, missing):
    for bad in ((), GOOD[missing][:1], GOOD[missing][:1] * 5):
        groups = Groups(*(bad if n == missing else group for n, group in enumerate(GOOD)))
        with pytest.raises(InputError, match=f"{Groups._fields[missing]} holds {len(bad)} prompts"):
            find_directions(phantom_model, groups)


def test_the_published_contrast_needs_two_groups(phantom_model):
    groups = Groups(GOOD[0], (), (), GOOD[3])
    with pytest.raises(InputError, match="contrast='published'"):
        find_directions(phantom_model, groups)
    found = find_directions(phantom_model, groups, contrast="published", permutations=5)
    assert found.at("refusal", 0).position == "post_instruction:4"
    assert found.at("harmfulness", 0).quality.within is None


def test_a_prompt_on_both_sides_is_refused(phantom_model):
    with pytest.raises(InputError, match=r"stands in refused_harmful and in accepted_harmless"):
        find_directions(phantom_model, Groups(*GOOD[:3], (*GOOD[3], GOOD[0][0])))


def test_tokens_that_all_prompts_share_have_no_direction_at_first(phantom_model):
    """Before attention has mixed anything, the last token is the same everywhere: nothing may be normalised there."""
    x = states_of(phantom_model, [g[0] for g in GOOD], layers=[0], positions=["last"])
    assert torch.isfinite(x).all()
    found = find_directions(phantom_model, Groups(*GOOD), permutations=5)
    assert all(torch.isfinite(found.first[kind]).all() for kind in found.first)


def test_templates_without_post_instruction_tokens(phantom_model):
    from demur.models import LocalModel

    tokenizer = type(phantom_model.tokenizer).from_pretrained(phantom_model.name)
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    bare = LocalModel(phantom_model.model, tokenizer, name="bare")
    with pytest.raises(InputError, match="no tokens after the instruction"):
        find_directions(bare, Groups(*GOOD))


def test_states_that_are_not_finite_are_refused(phantom_model):
    from demur.models import writing

    edit = {(1, "resid_post"): lambda x: x * float("nan")}
    with writing(phantom_model.structure, edit), pytest.raises(ModelError, match="layer 1"):
        find_directions(phantom_model, Groups(*GOOD))


def test_unknown_places_are_named(found):
    with pytest.raises(InputError, match="the layers 0, 1, 2, 3"):
        found.at("refusal", 9)
    with pytest.raises(InputError, match="last_instruction"):
        found.best("refusal", "nowhere")
