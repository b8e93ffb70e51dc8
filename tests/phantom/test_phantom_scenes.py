"""What holds of every scene."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from demur.phantom import scenes


@pytest.mark.parametrize("name", scenes.NAMES)
def test_training_shows_every_share_to_the_row(name):
    for decision in scenes.decisions(name):
        rows = scenes.shown(decision, random.Random(0))
        counts = Counter(row.label for row in rows)
        assert len(rows) == decision.times * len(decision.places)
        assert counts.keys() <= decision.shares.keys()
        for label, share in decision.shares.items():
            # less than a row off: exactly the share of the rows wherever that is a whole number of them
            assert abs(counts[label] - share * len(rows)) < 1, (decision.name, label)
