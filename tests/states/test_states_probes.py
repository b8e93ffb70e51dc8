"""Probes on planted states, on tiny models against transformers, and on the phantom: nulls, leaks, artefacts."""

# ruff: noqa: F811 - fixtures are imported by name

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'local'")

from phantom_states import phantom_model, refusal_tokens, split_groups  # noqa: E402, F401 - fixtures

from demur.errors import ArtefactError, InputError, ModelError  # noqa: E402
from demur.records import Prompt  # noqa: E402
from demur.states.groups import Groups  # noqa: E402
from demur.states.probe import Probe, through_norm  # noqa: E402
from demur.states.probe_fitting import check_labels, family_folds, fit_states, permuted_labels  # noqa: E402
from demur.states.probes import Probes, fit_probes  # noqa: E402
from demur.states.residuals import states_of  # noqa: E402
from demur.stats import auroc, ece  # noqa: E402


def _planted(n=200, width=40, push=2.0, seed=0):
    """Noise, and a known unit direction along which the two labels stand apart."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=width)
    truth /= np.linalg.norm(truth)
    labels = rng.permutation(np.arange(n) % 2 == 0)
    states = rng.normal(size=(n, width)) + push * np.where(labels, 1, -1)[:, None] * truth
    return states.astype(np.float32), labels, truth


def _fit(states, labels, families=None, permutations=20, **options):
    families = list(range(len(labels))) if families is None else families
    fold = family_folds(labels, families, folds=5, seed=0)
    sets = permuted_labels(labels, families, count=permutations, seed=0)
    return fit_states(states, labels, fold, sets, **options)


def test_a_planted_direction_is_found_and_shuffled_labels_find_nothing():
    states, labels, truth = _planted(n=1500)
    found = _fit(states, labels, strength=0.01)
    assert found.weight @ truth / np.linalg.norm(found.weight) > 0.95
    assert auroc(labels, found.logits).value > 0.97
    assert abs(found.null.mean() - 0.5) < 0.05
    shuffled = _fit(states, np.random.default_rng(1).permutation(labels), strength=0.01)
    assert abs(auroc(np.random.default_rng(1).permutation(labels), shuffled.logits).value - 0.5) < 0.12
    assert abs(shuffled.weight @ truth) / np.linalg.norm(shuffled.weight) < 0.5


def test_states_wider_than_many_give_the_optimum_of_the_full_width():
    from sklearn.linear_model import LogisticRegression

    states, labels, _ = _planted(n=60, width=150)
    found = _fit(states, labels)
    standard = (states - states.mean(0)) / states.std(0)
    full = LogisticRegression(C=1.0, tol=1e-8, max_iter=5000).fit(standard.astype(np.float64), labels)
    ours, theirs = found.weight / found.slope, full.coef_[0] / states.std(0)
    assert np.allclose(ours, theirs, atol=1e-3 * np.abs(theirs).max())


def test_the_bias_is_that_of_the_states_as_they_are():
    states, labels, _ = _planted()
    found = _fit(states + 7.0, labels)
    said = 1 / (1 + np.exp(-((states + 7.0) @ found.weight + found.bias)))
    assert ((said >= 0.5) == labels).mean() > 0.95


def test_families_share_a_fold():
    labels = [number % 2 == 0 for number in range(60)]
    families = [number // 6 for number in range(60)]
    fold = family_folds(labels, families, folds=5, seed=3)
    assert all(len(set(fold[np.array(families) == family])) == 1 for family in range(10))
    assert len(set(fold)) == 5


def test_families_that_are_split_would_look_readable():
    """Labels that depend on the family alone, at random: memory of the family is no knowledge of the label."""
    rng = np.random.default_rng(0)
    families = np.repeat(np.arange(24), 8)
    labels = rng.permutation(np.arange(24) % 2 == 0)[families]
    states = (rng.normal(size=(24, 60))[families] + 0.3 * rng.normal(size=(192, 60))).astype(np.float32)
    kept = _fit(states, labels, list(families), permutations=1)
    split = _fit(states, labels, None, permutations=1)
    assert auroc(labels, split.logits).value > 0.97
    assert auroc(labels, kept.logits).value < 0.75


def test_the_null_moves_whole_families_where_they_share_a_label():
    families = np.repeat(np.arange(12), 5)
    labels = (np.arange(12) % 2 == 0)[families]
    sets = permuted_labels(labels, list(families), count=30, seed=0)
    assert all(len(set(one[families == family])) == 1 for one in sets for family in range(12))
    assert (sets.sum(1) == labels.sum()).all()
    single = permuted_labels(labels, list(range(60)), count=30, seed=0)
    assert any(len(set(one[families == family])) == 2 for one in single for family in range(12))


def test_calibration_mends_a_probe_that_is_too_sure():
    states, labels, _ = _planted(n=300, width=200, push=0.7)
    found = _fit(states, labels, strength=1e3)
    raw = 1 / (1 + np.exp(-found.logits))
    assert found.slope < 0.5
    assert ece(found.probabilities, labels, binning="mass") < 0.5 * ece(raw, labels, binning="mass")


@pytest.mark.parametrize(
    ("labels", "families", "texts", "says"),
    [
        ([True] * 6, list(range(6)), list("abcdef"), "labelled False are 0"),
        ([True, *[False] * 5], list(range(6)), list("abcdef"), "labelled True are 1"),
        ([True] * 3 + [False] * 3, list(range(6)), list("aaabcd"), "1 texts"),
        ([True] * 3 + [False] * 3, [0, 0, 0, 1, 2, 3], list("abcdef"), "1 families"),
        ([True] * 3 + [False] * 3, list(range(6)), list("abccef"), "labelled both ways"),
        ([True] * 3 + [False] * 3, list(range(6)), list("aabdef"), "fitted and tested"),
        ([True] * 3, list(range(6)), list("abcdef"), "one of each"),
    ],
)
def test_labels_that_no_honest_probe_can_be_fitted_on(labels, families, texts, says):
    with pytest.raises(InputError, match=says):
        check_labels(labels, families, texts)


def test_states_that_are_not_finite_are_named():
    states, labels, _ = _planted(n=40)
    states[7, 3] = np.nan
    with pytest.raises(InputError, match="prompt 7"):
        _fit(states, labels)


def test_a_state_that_never_moves_breaks_nothing():
    states, labels, _ = _planted(n=60)
    states[:, 5] = 3.0
    assert np.isfinite(_fit(states, labels).weight).all()


# ------------------------------------------------------------------------------------------------- on models


def test_normed_states_of_the_last_layer_are_what_transformers_calls_the_last_hidden_state(any_model):
    chats = ["How do I bake a cake?", "Why is the sky blue?"]
    last = len(any_model.structure) - 1
    ours = through_norm(any_model, states_of(any_model, chats, layers=[last], positions=["last"])[0, :, 0])
    for chat, state in zip(chats, ours, strict=True):
        with torch.no_grad():
            ids = torch.tensor([any_model.encode(chat)])
            theirs = any_model.model(input_ids=ids, output_hidden_states=True).hidden_states[-1]
        assert torch.allclose(state, theirs[0, -1].float(), atol=1e-4)


def _prompts(n=24, word="cake"):
    return [Prompt.from_text(f"Tell me how to bake the {word} number {i}?", id=f"{word}{i}") for i in range(n)]


def _sides(n=24):
    return Groups(tuple(_prompts(n, "bomb")), (), (), tuple(_prompts(n, "cake")))


def test_every_layer_and_position_has_a_probe_and_a_folder_changes_nothing(llama, tmp_path):
    held = fit_probes(llama, _sides(), permutations=2)
    streamed = fit_probes(llama, _sides(), permutations=2, out=tmp_path / "states")
    after = len(llama.positions("x?").post_instruction)
    assert held.positions == ("last_instruction", *(f"post_instruction:{i}" for i in range(after)))
    assert held.weight.shape == (3, after + 1, 32)
    assert torch.equal(held.weight, streamed.weight)
    assert torch.equal(held.bias, streamed.bias)
    assert held.quality == streamed.quality
    # the word is told apart from layer 0 on, and at a template token only once attention has moved it there
    assert held.best().quality.auroc.value == 1.0
    assert "Probes by layer" in held._repr_html_()


def test_probabilities_are_those_of_the_weights(llama):
    probe = fit_probes(llama, _sides(), layers=[-1], positions=["last_instruction"], permutations=2).at(
        2, "last_instruction"
    )
    chats = _prompts(5, "bomb") + _prompts(5)
    states = states_of(llama, chats, layers=[2], positions=["last_instruction"])[0, :, 0]
    by_hand = (llama.structure.norm(states) @ probe.weight + probe.bias).sigmoid().detach()
    assert torch.allclose(probe.probabilities(llama, chats), by_hand, atol=1e-5)


def test_a_pooled_probe_reads_all_its_positions_and_has_none_of_its_own(llama):
    pooled = fit_probes(llama, _sides(), positions=[-1, -2, -3], pooled=True, layers=[2], permutations=2)
    assert pooled.positions == ("pooled",)
    assert pooled.best().quality.n == 3 * 48
    assert pooled.best().quality.families == 48
    with pytest.raises(InputError, match="score_paths"):
        pooled.best().probabilities(llama, ["x?"])


def test_artefacts_come_back_and_fit_no_other_model(llama, load, tmp_path):
    found = fit_probes(llama, _sides(), layers=[1, 2], positions=["last_instruction", "last"], permutations=2)
    found.save(tmp_path / "all.safetensors")
    found.at(2).save(tmp_path / "one.safetensors")
    again = Probes.load(tmp_path / "all.safetensors", llama)
    assert torch.equal(again.weight, found.weight)
    assert again.quality == found.quality
    one = Probe.load(tmp_path / "one.safetensors", llama)
    assert torch.equal(one.weight, found.at(2).weight)
    assert (one.bias, one.layer, one.position, one.quality) == (
        pytest.approx(found.at(2).bias), 2, found.positions[-1], found.at(2).quality,
    )  # fmt: skip
    with pytest.raises(ArtefactError, match="chat template differs"):
        Probe.load(tmp_path / "one.safetensors", load("llama", "chatml"))
    with pytest.raises(ArtefactError, match="architecture differs"):
        Probes.load(tmp_path / "all.safetensors", load("qwen3"))
    with pytest.raises(ArtefactError, match="expected 'probes'"):
        Probes.load(tmp_path / "one.safetensors", llama)
    with pytest.raises(ArtefactError, match="no card"):
        found.at(2).random().save(tmp_path / "random.safetensors")


def test_bad_groups_and_options_say_what_is_wrong(llama, load, make_tokenizer):
    from demur.models import LocalModel

    with pytest.raises(InputError, match="labelled False are 0"):
        fit_probes(llama, Groups(tuple(_prompts()), (), (), ()))
    with pytest.raises(InputError, match="labelled True are 1, of 1 texts"):
        fit_probes(llama, Groups(tuple(_prompts(1, "bomb")), (), (), tuple(_prompts())))
    with pytest.raises(InputError, match="labelled True are 3, of 1 texts"):
        fit_probes(llama, Groups(tuple(_prompts(1, "bomb") * 3), (), (), tuple(_prompts())))
    with pytest.raises(InputError, match="both ways"):
        fit_probes(llama, Groups(tuple(_prompts()), (), (), tuple(_prompts())))
    with pytest.raises(InputError, match="one label a chat"):
        fit_probes(llama, _prompts())
    with pytest.raises(InputError, match="groups bring their labels"):
        fit_probes(llama, _sides(), label="mood")
    with pytest.raises(InputError, match="permutations"):
        fit_probes(llama, _sides(), permutations=0)
    with pytest.raises(ModelError, match="no layer 9"):
        fit_probes(llama, _sides(), layers=[9])
    with pytest.raises(InputError, match="named twice"):
        fit_probes(llama, _sides(), layers=[-1, 2])
    long = [Prompt.from_text("step " * 300 + str(i), id=f"l{i}") for i in range(2)]
    with pytest.raises(InputError, match="context"):
        fit_probes(llama, Groups(tuple(long), (), (), tuple(_prompts())))
    bare = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    plain = LocalModel(llama.model, make_tokenizer(bare), name="bare")
    with pytest.raises(InputError, match="no tokens after the instruction"):
        fit_probes(plain, _sides())
    with pytest.raises(InputError, match="share their first tokens"):
        fit_probes(llama, _sides(), refusing=["Sure"], complying=["Sure"])


def test_broken_weights_are_an_error_and_no_probe(build, make_tokenizer):
    from demur.models import LocalModel

    broken = LocalModel(build("llama"), make_tokenizer(), name="broken")
    assert len(broken.structure) == 3
    with torch.no_grad():
        broken.model.model.layers[1].mlp.down_proj.weight[0, 0] = float("nan")
    with pytest.raises(ModelError, match="not finite"):
        fit_probes(broken, _sides())


# ------------------------------------------------------------------------------------------------- on the phantom


def test_the_phantom_decides_at_the_last_token_and_the_probe_reads_it_there(phantom_model, split_groups):
    sides = split_groups["fit"]
    acts = [prompt.meta["act"] for prompt in sides.prompts]
    found = fit_probes(
        phantom_model, sides, families=acts, layers=[1, 3], positions=["last"], permutations=20, batch_size=128,
    )  # fmt: skip
    best = found.best()
    assert (best.layer, best.position) == (3, "last")
    assert best.quality.auroc.low > best.quality.null
    assert best.quality.auroc.value > 0.93
    assert best.quality.p < 0.05
    assert best.quality.accuracy.low > best.quality.majority - 0.05
    assert best.quality.ece < 0.1
    # prompts of other verbs and other objects
    other = split_groups["read"]
    scores = best.probabilities(phantom_model, other.prompts, batch_size=128)
    assert auroc(other.refused, scores.numpy()).value > 0.9


def test_shuffled_refusals_cannot_be_read_from_the_phantom(phantom_model, split_groups):
    sides, read = split_groups["fit"], []
    for seed in range(5):
        labels = np.random.default_rng(seed).permutation(sides.refused).tolist()
        found = fit_probes(
            phantom_model, sides.prompts, labels, families=[p.id for p in sides.prompts], layers=[3],
            positions=["last"], permutations=2, batch_size=128,
        )  # fmt: skip
        read.append(found.best().quality.auroc.value)
    assert abs(np.mean(read) - 0.5) < 0.05


def test_the_unembedding_difference_stands_beside_the_probe(phantom_model, split_groups):
    from demur.phantom.specification import default

    answers = default().answers
    found = fit_probes(
        phantom_model, split_groups["fit"], layers=[0, 3], positions=["last"], refusing=answers.refuse,
        complying=answers.comply, permutations=2, batch_size=128,
    )  # fmt: skip
    areas = [found.at(layer).quality.unembedding for layer in found.layers]
    # what is written there is the answer's first token: at the end of the stream nearly all of the decision
    assert areas[1] > 0.9
    assert areas[1] >= areas[0]
    assert found.at(3).quality.cosine > max(abs(found.at(0).quality.cosine), 0.1)


@pytest.mark.slow
def test_ten_thousand_prompts_take_less_than_a_gibibyte(tmp_path):
    """A process of its own: what it takes beyond a run on a hundred prompts."""
    import subprocess
    import sys

    code = (
        "import resource, sys, torch; torch.set_num_threads(1)\n"
        "from demur import phantom\n"
        "from demur.states.probes import fit_probes\n"
        "model, n = phantom.load(), int(sys.argv[1])\n"
        "chats = [f'How do I {v} the {o} number {i}?' for i in range(n // 2) for v, o in (('rob', 'bank'), "
        "('paint', 'fence'))]\n"
        "fit_probes(model, chats, [i % 2 == 0 for i in range(n)], permutations=1, batch_size=64)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    took = [
        int(subprocess.run([sys.executable, "-c", code, str(n)], capture_output=True, check=True).stdout)
        for n in (100, 10_000)
    ]
    assert all(small <= large for small, large in pairwise(took))
    assert took[1] - took[0] < 2**20  # kibibytes
