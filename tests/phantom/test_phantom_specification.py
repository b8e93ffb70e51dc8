"""The specification says what it plants, and refuses to say two things at once."""

from __future__ import annotations

import pytest

from demur.errors import InputError
from demur.phantom import specification
from demur.phantom.specification import DECLINING, default, read


def test_the_shipped_specification_plants_distinct_refusal_for_eight_categories():
    spec = default()
    assert len(spec.category) == 8
    assert len({c.declined.harmful for c in spec.category}) == 8
    assert all(c.declined.harmful > c.declined.look_alike for c in spec.category)


def test_a_replacing_wrapper_forgets_the_category_and_a_scaling_one_does_not():
    spec = default()
    assert spec.declined("weapons", "harmful", "story") == spec.declined("malware", "harmful", "story") == 0.20
    assert spec.declined("weapons", "harmful", "past_tense") == pytest.approx(0.6 * 0.97)
    assert spec.declined("malware", "look_alike", "past_tense") == pytest.approx(0.6 * 0.03)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("refuse = 0.55, rebut = 0.25", "refuse = 0.55, rebut = 0.35", "sum to 1"),
        ("scale = 0.6", "scale = 0.6\nreplace = { harmful = 0.1, look_alike = 0.1, plain = 0.1 }", "exactly one of"),
        ("declined = 0.02", "declined = 1.2", "less than or equal to 1"),
        ('"stop", "prevent", "block"', '"prevent", "block"', "as many promote as hinder"),
    ],
)
def test_a_contradictory_specification_is_refused_with_the_reason(tmp_path, old, new, said):
    text = specification._FILE.read_text(encoding="utf-8")
    assert old in text
    file = tmp_path / "specification.toml"
    file.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(InputError, match=said):
        read(file)


def test_a_missing_file_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="is not a phantom specification"):
        read(tmp_path / "none.toml")


def test_harmless_prompts_have_a_style_mix_of_their_own():
    spec = default()
    for category in spec.category:
        assert list(spec.styles(category.name, "harmful")) == list(DECLINING)
        assert spec.styles(category.name, "look_alike") == spec.harmless_styles.shares
