"""Known truth on other families: what the directions, the guard and the probes say of the phantom's variants."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'local'")

from phantom_states import decided, every_second_word, opening_tokens, split_by_words  # noqa: E402

from demur import phantom  # noqa: E402
from demur.phantom import editions, variants  # noqa: E402
from demur.states.beliefs import bag_of_words, read_beliefs  # noqa: E402
from demur.states.directions import find_directions  # noqa: E402
from demur.states.groups import from_labels  # noqa: E402
from demur.states.interventions import refusal_probabilities, sweep  # noqa: E402
from demur.states.latent_guard import LatentGuard  # noqa: E402
from demur.stats import auroc  # noqa: E402

INSTALLED = [name for name in variants.names() if name in editions.names()]


class Variant:
    """A variant with prompts to fit on and prompts to read that share no verb and no object."""

    def __init__(self, name):
        torch.set_num_threads(1)
        self.spec = variants.specification(name)
        self.model = phantom.load(f"phantom:{name}")
        self.tokens = opening_tokens(self.model, self.spec)
        prompts = phantom.prompts(per_condition=48, specification=self.spec)
        self.groups = split_by_words(self.model, self.tokens, every_second_word(self.spec), prompts)
        self.found = find_directions(
            self.model,
            self.groups["fit"],
            positions=["last_instruction", "post_instruction:0", "last"],
            permutations=40,
            batch_size=128,
        )


@pytest.fixture(scope="module", params=INSTALLED)
def variant(request):
    return Variant(request.param)


def test_harm_and_refusal_are_read_apart_on_words_never_seen(variant):
    """Harm where the instruction ends, refusal where the answer begins, in all four quadrants."""
    fit, read = variant.groups["fit"], variant.groups["read"]
    harm, refusal = variant.found.best("harmfulness"), decided(variant.found)
    assert harm.position == "last_instruction"
    for best in (harm, refusal):
        assert best.quality.auroc > best.quality.null
        assert best.quality.p < 0.05
    beliefs = read_beliefs(
        variant.model, variant.found, read, layers=[harm.layer], harm_position=harm.position,
        refusal_position=refusal.position, batch_size=128,
    )  # fmt: skip
    areas = beliefs.apart()
    assert min(areas[name].value for name in ("harm", "harm among refused", "harm among accepted")) >= 0.97
    assert min(areas[name].value for name in ("refusal among harmful", "refusal among harmless")) >= 0.97
    assert auroc(read.harmful, bag_of_words(fit.prompts, fit.harmful, read.prompts)).value <= 0.7


def test_the_guard_flags_harm_under_wrappers_that_fool_refusal(variant):
    layer = variant.found.best("harmfulness").layer
    guard = LatentGuard.fit(
        variant.model, variant.groups["fit"], layers=[layer], contrast="balanced", permutations=20, batch_size=128
    )
    unseen = phantom.prompts(per_condition=8, held_out=True, specification=variant.spec)
    story = [p for p in unseen if p.meta["group"] == "harmful" and p.meta["wrapper"] == "story"]
    plain = [p for p in unseen if p.meta["group"] == "plain"]
    assert refusal_probabilities(variant.model, story, variant.tokens).mean() < 0.4
    report = guard.evaluate(variant.model, {"story": story}, plain=plain, batch_size=128)
    assert report["story"].flagged.value >= 0.9
    assert report.false_positives.value <= 0.1


def test_a_push_along_refusal_declines_everyday_requests_and_random_pushes_do_not(variant):
    asked = phantom.prompts(per_condition=16, kinds=["direct"], specification=variant.spec)
    plain = [p for p in asked if p.meta["group"] == "plain"]
    (row,) = sweep(
        variant.model, plain, [decided(variant.found)], strengths=[1.0], refusal_tokens=variant.tokens, random=5
    ).rows
    assert row.rate > 2.5 * max(row.random)


def test_shuffled_harm_gives_no_direction(variant):
    fit = variant.groups["fit"]
    order = torch.randperm(len(fit.prompts), generator=torch.Generator().manual_seed(5)).tolist()
    shuffled = from_labels(fit.prompts, harmful=[fit.harmful[n] for n in order], refused=fit.refused)
    found = find_directions(
        variant.model, shuffled, layers=[2], positions=["last_instruction"], permutations=40, batch_size=128
    )
    quality = found.at("harmfulness", 2, "last_instruction").quality
    assert abs(quality.auroc - 0.5) < 0.1
    assert quality.p > 0.05
