"""Contrasts: arithmetic that is known, and planted truth without a model."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'local'")

from demur.errors import InputError  # noqa: E402
from demur.states.contrasts import aurocs, centroid_weights, cluster_score, folds, permuted  # noqa: E402


def test_cluster_score_of_the_worked_example():
    score = cluster_score(torch.tensor([[3.0, 4.0]]), torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]))
    assert score.item() == pytest.approx(0.6 - 0.8)


def test_cluster_score_ignores_lengths_and_flips_with_its_ends():
    h, a, b = torch.randn(5, 8), torch.randn(8), torch.randn(8)
    score = cluster_score(h, a, b)
    torch.testing.assert_close(cluster_score(h * 7, a * 3, b * 0.2), score)
    torch.testing.assert_close(cluster_score(h, b, a), -score)
    assert cluster_score(torch.zeros(1, 8), a, b).item() == 0


def test_areas_agree_with_scikit_learn():
    from sklearn.metrics import roc_auc_score

    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(60, generator=generator) > 0.6
    scores = torch.randn(60, 3, generator=generator).round(decimals=1)  # with ties
    expected = [roc_auc_score(truth, scores[:, k]) for k in range(3)]
    assert aurocs(truth, scores).tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("contrast", ["balanced", "published"])
def test_swapping_labels_turns_the_direction(contrast):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(40, 6, generator=generator)
    harmful, refused = torch.arange(40) % 2 == 0, torch.arange(40) % 4 < 2
    a, b = (w @ x for w in centroid_weights("refusal", contrast, harmful, refused))
    c, d = (w @ x for w in centroid_weights("refusal", contrast, harmful, ~refused))
    torch.testing.assert_close(a - b, d - c)


def test_only_the_balanced_contrast_keeps_apart_what_goes_together():
    """Of 100 harmful prompts 90 are refused, of 100 harmless ones 10: published harm is refusal too."""
    harmful = torch.arange(200) < 100
    refused = torch.cat([torch.arange(100) < 90, torch.arange(100) < 10])
    u, w = torch.eye(4)[0], torch.eye(4)[1]
    x = harmful.float()[:, None] * u + refused.float()[:, None] * w

    def direction(contrast):
        a, b = (weight @ x for weight in centroid_weights("harmfulness", contrast, harmful, refused))
        return a - b

    torch.testing.assert_close(direction("balanced"), u)
    torch.testing.assert_close(direction("published"), u + w)


def test_folds_keep_pairs_together_and_spread_small_cells():
    clusters = [f"pair-{n // 2}" for n in range(40)]
    cells = torch.tensor([3] * 36 + [0] * 4)
    fold = folds(clusters, cells, count=2, seed=0)
    assert all(fold[n] == fold[n + 1] for n in range(0, 40, 2))
    assert set(fold[36:].tolist()) == {0, 1}
    with pytest.raises(InputError, match="cannot be split into 5 folds"):
        folds(["a", "b"], torch.zeros(2, dtype=torch.long), count=5, seed=0)


def test_permutations_hold_the_strata():
    labels, strata = torch.arange(30) < 12, torch.arange(30) % 3
    sets = permuted(labels, strata, count=20, seed=0)
    for stratum in range(3):
        assert (sets[:, strata == stratum].sum(-1) == labels[strata == stratum].sum()).all()
    assert not (sets == labels).all(-1).all()
