"""The published protocol on rows that are not in the repository; skipped where they are absent."""

from __future__ import annotations

from pathlib import Path

import pytest

from demur.errors import InputError
from demur.responses.published import run

DATA = Path(__file__).parents[3] / "shared" / "data" / "chatgpt_refusals" / "all_hand_labeled.json"


def test_a_missing_or_foreign_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="not there"):
        run(tmp_path / "none.json")
    (tmp_path / "few.json").write_text('[{"tone": "complied", "prompt": "a", "response": "b"}]')
    with pytest.raises(InputError, match="1706"):
        run(tmp_path / "few.json")


@pytest.mark.slow
def test_the_published_protocol():
    if not DATA.exists():
        pytest.skip("the published rows are not present")
    found = run(DATA)
    assert max(found.choosing.values()) >= 240
    # The published linear model reads 232 of the 256 right, the published BERT 247: this one is no better than linear.
    assert found.right >= 230
