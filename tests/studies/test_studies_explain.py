"""`demur explain` on the phantom: the page, the files, resuming, and bad input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from demur import phantom
from demur.cli.main import app
from demur.errors import InputError
from demur.models import LocalModel
from demur.phantom.specification import default
from demur.records import Prompt
from demur.states import Groups, from_behaviour, load_direction, write_groups
from demur.states.directions import Directions
from demur.states.refusal_opening import refusal_tokens
from demur.studies.explain_guard import calibration_split
from demur.studies.explain_inside import split
from demur.studies.explaining import SECTIONS, ExplainSettings, Explanation, explain

SETTINGS = {"model": "phantom", "permutations": 20, "random": 1, "most": 8, "seed": 1}


@pytest.fixture(scope="module")
def model() -> LocalModel:
    return phantom.load()


@pytest.fixture(scope="module")
def groups(model: LocalModel) -> Groups:
    # sampled, so that each prompt falls on either side as often as was planted
    return from_behaviour(model, phantom.prompts(per_condition=4, seed=1), max_tokens=16, temperature=1.0, seed=5)


@pytest.fixture(scope="module")
def found(model: LocalModel, groups: Groups, tmp_path_factory: pytest.TempPathFactory) -> Explanation:
    folder = tmp_path_factory.mktemp("explain")
    write_groups(groups, folder / "groups.jsonl")
    settings = ExplainSettings(**SETTINGS, groups=str(folder / "groups.jsonl"))
    return explain(model, folder / "out", settings=settings)


def test_all_sections_are_on_the_page(found: Explanation) -> None:
    assert [s.name for s in found.sections] == list(SECTIONS)
    page = found.page.read_text()
    for section in found.sections:
        assert f'id="{section.name}"' in page
    assert "nothing about real models" in page


def test_harm_and_refusal_are_read_apart(found: Explanation) -> None:
    data = found["apart"].data
    assert data["harm among refused"] > 0.9
    assert data["harm among accepted"] > 0.9
    assert data["bag_of_words"] < 0.75


def test_a_push_away_from_harm_turns_answers_that_random_directions_leave(found: Explanation) -> None:
    data = found["inversion"].data
    assert data["none"] < 0.1
    assert data["harmfulness"] > max(data["random"]) + 0.5


def test_the_files_are_there_and_load(found: Explanation, model: LocalModel) -> None:
    held = json.loads((found.out / "explain.json").read_text())
    assert held["counts"] == found.counts
    assert Directions.load(found.out / "directions.safetensors", model).counts.keys() == found.counts.keys()
    drawn = {f.name for s in found.sections for f in s.figures}
    assert {p.stem for p in (found.out / "figures").glob("*.svg")} == drawn
    assert {p.stem for p in (found.out / "figures").glob("*.png")} == drawn


def test_resuming_measures_only_what_is_missing(found: Explanation, model: LocalModel) -> None:
    (found.out / "sections" / "guard.json").unlink()
    learned = (found.out / "directions.safetensors").stat().st_mtime_ns
    said: list[str] = []
    again = explain(model, found.out, settings=found.settings, resume=True, told=said.append)
    assert [s.model_dump() for s in again.sections] == [s.model_dump() for s in found.sections]
    assert len(said) == 2  # the groups, which are read, and one section
    assert (found.out / "directions.safetensors").stat().st_mtime_ns == learned  # read, not fitted again


def test_other_settings_cannot_take_up_the_folder(found: Explanation, model: LocalModel) -> None:
    with pytest.raises(InputError, match="was made with seed = 1, not 2"):
        explain(model, found.out, settings=found.settings.model_copy(update={"seed": 2}), resume=True)
    with pytest.raises(InputError, match="add --resume"):
        explain(model, found.out, settings=found.settings)


def test_a_folder_that_holds_something_else_is_left_alone(model: LocalModel, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(InputError, match="is not empty"):
        explain(model, tmp_path, settings=ExplainSettings(**SETTINGS))


def test_nothing_to_resume_is_an_error(model: LocalModel, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to take up"):
        explain(model, tmp_path / "out", settings=ExplainSettings(**SETTINGS), resume=True)


def test_refusal_tokens_open_refusals_and_no_answers(model: LocalModel, groups: Groups) -> None:
    spec_answers = default().answers
    opening = {text.strip() for text in model.token_texts(refusal_tokens(model, groups))}
    complying = {a.split()[0].rstrip("!,.") for style in ("comply", "disclaimer") for a in spec_answers.of(style)}
    assert opening
    assert not opening & complying


def test_halves_share_no_pair_and_lose_no_prompt(groups: Groups) -> None:
    fit, held = split(groups, seed=3)
    families = [{p.pair_id for p in half.prompts} for half in (fit, held)]
    assert not families[0] & families[1]
    assert len(fit.prompts) + len(held.prompts) == len(groups.prompts)


def test_a_threshold_is_taken_from_pairs_that_are_not_counted(found: Explanation, groups: Groups) -> None:
    from demur.states.groups import family

    held = split(groups, seed=1)[1]
    calibrating, plain = calibration_split(held, seed=1)
    assert len(calibrating) + len(plain) == len(held.accepted_harmless) + len(held.refused_harmless)
    assert not {family(p) for p in calibrating} & {family(p) for p in plain}
    data = found["guard"].data
    assert data["calibrated_on"] == len(calibrating) >= 20
    assert data["rows"]["plain harmless"]["n"] == len(plain)
    few = Groups(*(group[:4] for group in held))
    assert calibration_split(few, seed=1) == ([], [*few.refused_harmless, *few.accepted_harmless])


def test_too_few_pairs_to_split_is_an_error(groups: Groups) -> None:
    few = Groups(*(group[:2] for group in groups))
    with pytest.raises(InputError, match="too few pairs"):
        split(few, seed=0)


def test_the_command_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from typer.testing import CliRunner

    outcome = CliRunner().invoke(app, ["explain", "phantom", "-o", str(tmp_path / "out"), "--section", "nonsense"])
    assert isinstance(outcome.exception, InputError)
    assert "there is no section 'nonsense'" in str(outcome.exception)


def test_the_command_lists_its_sections() -> None:
    from typer.testing import CliRunner

    listed = CliRunner().invoke(app, ["explain", "--help-sections"]).output
    assert [line.split()[0] for line in listed.splitlines()] == list(SECTIONS)


def test_a_saved_direction_of_another_kind_is_refused(found: Explanation, model: LocalModel) -> None:
    from demur.errors import ArtefactError

    with pytest.raises(ArtefactError):
        load_direction(found.out / "directions.safetensors", model)


def test_a_guard_model_stands_beside_the_latent_guard(tmp_path: Path) -> None:
    """The phantom itself as a guard, for prompts that ask what it was trained to judge; who refuses is made up."""
    sides: dict[str, list[Prompt]] = {}
    for number, prompt in enumerate(phantom.prompts(per_condition=24, kinds=["judgement"], seed=1)):
        harm = "harmful" if prompt.meta["group"] == "harmful" else "harmless"
        sides.setdefault(f"{'refused' if number % 4 < 2 else 'accepted'}_{harm}", []).append(prompt)
    write_groups(Groups(**{side: tuple(some) for side, some in sides.items()}), tmp_path / "groups.jsonl")
    settings = {**SETTINGS, "groups": str(tmp_path / "groups.jsonl"), "sections": ("guard",)}
    guard = str(phantom.path())
    found = explain("phantom", tmp_path / "out", settings=ExplainSettings(**settings, guard_model=guard))
    rows = found["guard"].data["rows"]
    plain = next(row for row in rows if not row.startswith("harmful"))
    assert rows[plain][guard] < 0.2
    assert all(held[guard] > 0.8 for row, held in rows.items() if row != plain)
