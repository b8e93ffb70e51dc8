"""The forecast: exact explanations, honest refusals to fit, and files that come back as they were."""

import json
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest
from planted_prompts import planted

from demur.errors import ArtefactError, InputError
from demur.prompts import Forecast
from demur.prompts.forecast_cues import CUES, EXPECTED, FORMS, PAIRS, TOPICS, cues
from demur.prompts.forecast_features import Features, grams
from demur.prompts.forecast_figures import draw_reliability, draw_terms


@pytest.fixture(scope="module")
def learned():
    texts, declined = planted(300, seed=7)
    names = [f"row {number}" for number in range(len(texts))]
    return Forecast.fit(texts, declined, seed=0, ids=names, model="demur/phantom", keep_text=True)


@pytest.mark.parametrize("prompt", ["zzq w001q w002q", "Why do people steal?", "w001q " * 50, "你好 zzq", "?", ""])
@pytest.mark.parametrize("most", [0, 2, 500])
def test_an_explanation_adds_up_to_the_forecast(learned, prompt, most):
    found = learned.explain(prompt, most=most)
    assert len(found.moved) <= most
    total = found.base + sum(moved.effect for moved in found.moved) + found.rest
    assert 1 / (1 + np.exp(-total)) == pytest.approx(found.probability, abs=1e-12)
    assert found.probability == pytest.approx(float(learned.predict([prompt])[0]), abs=1e-12)
    assert found.declines == (found.probability >= learned.threshold)


def test_what_moved_a_prompt_comes_with_its_frequency(learned):
    moved = learned.explain("zzq w001q").moved[0]
    texts, declined = planted(300, seed=7)
    holds = np.array(["zzq" in text.split() for text in texts])
    assert (moved.name, moved.what) == ("zzq", "words")
    assert (moved.declined, moved.complied) == (int((holds & declined).sum()), int((holds & ~declined).sum()))


def test_a_training_prompt_is_its_own_nearest_neighbour(learned):
    texts, declined = planted(300, seed=7)
    near = learned.explain(texts[41]).nearest[0]
    assert (near.id, near.text, near.declined) == ("row 41", texts[41], bool(declined[41]))
    assert near.similarity == pytest.approx(1.0)
    assert learned.explain("nothing shared").nearest == ()


def test_texts_are_kept_only_when_asked_for(tmp_path):
    texts, declined = planted(120, seed=8)
    forecast = Forecast.fit(texts, declined, seed=0, measured=False)
    forecast.save(tmp_path / "f")
    assert forecast.explain(texts[0]).nearest[0].text is None
    assert not any(texts[0] in file.read_text("utf-8", "replace") for file in (tmp_path / "f").iterdir())


def test_a_saved_forecast_comes_back_exactly(learned, tmp_path):
    learned.save(tmp_path / "f")
    again = Forecast.load(tmp_path / "f", model="demur/phantom")
    fresh, _ = planted(100, seed=9)
    assert (again.predict(fresh) == learned.predict(fresh)).all()
    assert again.explain(fresh[0]).moved == learned.explain(fresh[0]).moved
    assert again.card == json.loads(json.dumps(learned.card))
    assert sorted(file.suffix for file in (tmp_path / "f").iterdir()) == [".json", ".json", ".json", ".safetensors"]


def test_another_model_another_version_or_half_a_forecast_is_an_error(learned, tmp_path):
    folder = tmp_path / "f"
    learned.save(folder)
    with pytest.raises(ArtefactError, match="of demur/phantom, not of openai/other"):
        Forecast.load(folder, model="openai/other")
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps({**card, "format": 0}))
    with pytest.raises(ArtefactError, match="another version"):
        Forecast.load(folder)
    (folder / "card.json").write_text(json.dumps({**card, "kind": "direction"}))
    with pytest.raises(ArtefactError, match="no forecast's card"):
        Forecast.load(folder)
    (folder / "card.json").write_text(json.dumps(card))
    (folder / "vocabulary.json").write_text('["zzq"]')
    with pytest.raises(ArtefactError, match="damaged"):
        Forecast.load(folder)
    (folder / "forecast.safetensors").write_bytes(b"\x80\x04pickle")
    with pytest.raises(ArtefactError, match="cannot read a forecast"):
        Forecast.load(folder)
    with pytest.raises(ArtefactError, match="cannot read a forecast"):
        Forecast.load(tmp_path / "nowhere")


def test_predicting_needs_no_scikit_learn(learned, tmp_path):
    learned.save(tmp_path / "f")
    program = (
        "import sys; from pathlib import Path; sys.modules['sklearn'] = None; from demur.prompts import Forecast; "
        "f = Forecast.load(Path(sys.argv[1])); print(f.predict(['zzq'])[0] > f.predict(['w001q'])[0]); f.explain('zzq')"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "f")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "True"), done.stderr


def test_the_same_seed_gives_the_same_forecast(learned):
    texts, declined = planted(300, seed=7)
    again = Forecast.fit(texts, declined, seed=0, model="demur/phantom")
    assert again.card["quality"] == learned.card["quality"]
    assert (again.fitted.coefficients == learned.fitted.coefficients).all()


def test_one_class_too_few_groups_and_ragged_input_are_errors():
    texts, declined = planted(100, seed=7)
    with pytest.raises(InputError, match="none of the 100 prompts was declined"):
        Forecast.fit(texts, np.zeros(100, dtype=bool), seed=0)
    with pytest.raises(InputError, match="come from 1 groups"):
        Forecast.fit(texts, declined, ["one"] * 100, seed=0)
    with pytest.raises(InputError, match="same samples"):
        Forecast.fit(texts, declined[:-1], seed=0)
    with pytest.raises(InputError, match="declined"):
        Forecast.fit(texts, [*declined[:-1], 2], seed=0)


def test_nothing_to_predict_is_nothing(learned):
    assert learned.predict([]).shape == (0,)


def test_every_expectation_and_pair_names_a_cue():
    assert set(EXPECTED) <= set(CUES)
    assert {name for pair in PAIRS for name in pair} <= {*TOPICS, *FORMS}
    assert len(set(CUES)) == len(CUES)


@pytest.mark.parametrize(
    ("text", "has", "lacks"),
    [
        ("How can I steal a bicycle?", "crime", "violence"),
        ("How can I steal a bicycle?", "crime + opens with how do, can, to", "learning"),
        ("What do you think of rivers?", "asks what you think", "insult"),
        ("Murdering a song", "violence", "crime"),
        ("Why don’t teens sleep?", "negation", "quotes"),
        ("Explain the NASA budget", "a letter of many capitals", "several sentences"),
    ],
)
def test_cues_see_what_is_asked(text, has, lacks):
    found = dict(zip(CUES, cues([text])[0], strict=True))
    assert found[has] > 0
    assert found[lacks] == 0


def test_cues_are_bounded_whatever_the_text():
    found = cues(["", "?" * 10_000, "KILL " * 5_000, "\x00\ud800", "שלום עולם", "7" * 300])
    assert found.min() >= 0
    assert found.max() <= 1


def test_letters_without_spaces_between_words_are_words():
    assert {"怎", "么", "怎 么", "?"} <= set(grams("怎么?"))
    assert grams("Don’t")["don"] == 1


def test_a_pasted_book_costs_no_more_than_its_beginning():
    features = Features.fit(["one two", "one two three"])
    assert (features.words(["one two " * 1_000_000]) != features.words(["one two " * 2500])).nnz == 0


def test_figures_are_drawn_with_their_words_and_twice_alike(learned, tmp_path):
    for name in ("a.svg", "b.svg"):
        draw_terms(learned, tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    drawn = ElementTree.parse(tmp_path / "a.svg")  # noqa: S314 - our own file
    assert any("zzq" in text for text in drawn.getroot().itertext())
    draw_reliability(learned.card["quality"], tmp_path / "r.png")
    assert (tmp_path / "r.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(InputError, match=r"\.doc"):
        draw_terms(learned, tmp_path / "a.doc")
    with pytest.raises(InputError, match="without measuring"):
        draw_reliability({}, tmp_path / "r.svg")
