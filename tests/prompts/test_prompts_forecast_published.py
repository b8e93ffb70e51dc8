"""The published protocol, exactly, where its files lie beside the checkout; and its mapping and readers, anywhere."""

import json
from collections import Counter

import pytest

from demur.errors import InputError
from demur.prompts.forecast_published import FILES, TONES, Asked, Recipe, kept, read_file, split, strongest


@pytest.fixture(scope="module")
def folder(shared_data):
    found = shared_data / "chatgpt_refusals"
    if not found.is_dir():
        pytest.skip("the published files are not beside this checkout")
    return found


@pytest.fixture(scope="module")
def rows(folder):
    return kept(read_file(folder / "all_hand_labeled.json"))


def _texts(rows, about):
    return [getattr(row, about) for row in rows]


def _fitted(part, about, model="lr"):
    return Recipe(model, about).fit(_texts(part, about), [row.declined for row in part])


def test_each_tone_is_mapped_as_published():
    assert {tone for tone, declined in TONES.items() if declined is None} == {"dontknow", "incoherent"}
    assert {tone for tone, declined in TONES.items() if declined is False} == {"complied"}
    assert len(TONES) == 8


def test_the_files_hold_what_is_published(folder):
    everything = read_file(folder / "all_hand_labeled.json")
    assert {name: len(read_file(folder / name)) for name in FILES} == dict(FILES)
    assert Counter(row.tone for row in everything) == {
        "complied": 1060, "rejected": 346, "redirected": 215, "contradicted": 61, "disclaimed": 21, "dontknow": 12,
        "incoherent": 3, "counseling": 3,
    }  # fmt: skip
    assert Counter(row.declined for row in everything) == {None: 15, False: 1060, True: 646}
    quora = read_file(folder / "quora_insincere_hand_labeled.json")
    assert len(kept(quora)) == 985
    assert Counter(row.insincere for row in quora) == {True: 600, False: 400}
    parts = [name for name in FILES if name != "all_hand_labeled.json"]
    union = {(row.prompt, row.response) for name in parts for row in read_file(folder / name)}
    assert union == {(row.prompt, row.response) for row in everything}


def test_the_split_is_the_published_one(rows):
    parts = split(rows)
    assert [len(part) for part in parts] == [1194, 256, 256]
    assert Counter(row.declined for row in parts.test) == {False: 156, True: 100}
    prompts = [{row.prompt for row in part} for part in parts]
    assert len(set.union(*prompts)) == 1706


def test_the_regression_reads_232_of_256_responses(rows):
    parts = split(rows)
    recipe = _fitted(parts.train, "response")
    said = recipe.predict(_texts(parts.test, "response"))
    assert recipe.vocabulary_size == 160_975
    assert sum(call == row.declined for call, row in zip(said, parts.test, strict=True)) == 232
    table = strongest(recipe, _texts(parts.train, "response"), most=4)
    assert [row.ngram for row in table] == ["statue", "cannot", "or", "the"]
    assert [row.coefficient for row in table] == pytest.approx([6.18, 3.77, 3.70, -3.56], abs=0.005)


def test_the_regression_foresees_190_of_256_from_the_prompt(rows):
    parts = split(rows)
    recipe = _fitted(parts.train, "prompt")
    said = recipe.predict(_texts(parts.test, "prompt"))
    assert recipe.vocabulary_size == 20_489
    assert sum(call == row.declined for call, row in zip(said, parts.test, strict=True)) == 190
    table = {row.ngram: row for row in strongest(recipe, _texts(parts.train, "prompt"))}
    assert len(table) == 18
    assert table["poem about murdering"].coefficient == pytest.approx(7.72, abs=0.005)
    assert table["poem about murdering"].coefficient == max(row.coefficient for row in table.values())
    # what the published figure does not show: all of it is one template
    assert table["poem about murdering"].texts == 66


@pytest.mark.slow
def test_the_forest_reads_222_of_256_responses(rows):
    parts = split(rows)
    said = _fitted(parts.train, "response", "rf").predict(_texts(parts.test, "response"))
    assert sum(call == row.declined for call, row in zip(said, parts.test, strict=True)) == 222


def test_words_of_test_rows_do_not_join_the_vocabulary():
    recipe = Recipe("lr", "prompt").fit(["paint the fence", "burn the fence", "mend the fence"], [False, True, False])
    before = recipe.vocabulary_size
    recipe.predict(["juggle lanterns over yonder"])
    assert recipe.vocabulary_size == before


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("not json", "not a file of chatgpt-refusals"),
        (json.dumps([{"prompt": "a", "response": "b"}]), "tone"),
        (json.dumps([{"prompt": "a", "response": "b", "tone": "sulking"}]), "sulking"),
    ],
)
def test_a_file_that_is_none_of_these_is_refused(tmp_path, content, says):
    file = tmp_path / "nyp.json"
    file.write_text(content, "utf-8")
    with pytest.raises(InputError, match=says):
        read_file(file)


def test_a_missing_file_is_named_with_where_it_comes_from(tmp_path):
    with pytest.raises(InputError, match="maxwellreuter/chatgpt-refusals"):
        read_file(tmp_path / "nyp.json")


def test_one_class_and_forests_are_refused_where_they_make_no_sense():
    with pytest.raises(InputError, match="both classes"):
        Recipe().fit(["a word", "two words"], [True, True])
    with pytest.raises(InputError, match="no coefficients"):
        strongest(Recipe("rf"), ["a word"])


def test_a_disclaimed_answer_counts_as_declined_here():
    assert Asked("p", "r", "disclaimed", None).declined is True
