"""Training: repeatable, and the same whether or not it was interrupted."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from safetensors.torch import load_file

from demur.errors import IncompleteError, InputError
from demur.phantom import planting, scenes, training
from demur.phantom.encoding import Renderer, as_batch, encode, encode_decisions, groups
from demur.phantom.schedule import schedule
from demur.phantom.specification import Specification, default
from demur.phantom.team import Team, team


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def small() -> Specification:
    spec = default()
    first = spec.category[0]
    few = {part: getattr(first, part)[:3] for part in ("promote", "hinder", "bad", "good")}
    return spec.model_copy(
        update={
            "category": (first.model_copy(update=few),),
            "plain": spec.plain.model_copy(update={"objects": spec.plain.objects[:2]}),
            "wrapper": spec.wrapper[:1],
            "scene": {"distress": spec.scene["distress"]},
            "model": spec.model.model_copy(
                update={"hidden_size": 16, "intermediate_size": 32, "layers": 1, "heads": 2}
            ),
            "training": spec.training.model_copy(
                update={
                    "phase": (
                        spec.training.phase[0].model_copy(
                            update={"sequences_per_batch": 8, "judgement_epochs": 0, "warmup_steps": 2}
                        ),
                    )
                }
            ),
        }
    )


def test_an_interrupted_training_resumes_to_the_same_weights(tmp_path, small, tokenizer, capfd):
    whole = training.train(tmp_path / "whole", specification=small, steps=20, tok=tokenizer)
    broken = tmp_path / "broken"
    with pytest.raises(IncompleteError, match="step 7 of 20"):
        training.train(broken, specification=small, steps=20, stop_after=7, tok=tokenizer)
    assert not (broken / "model.safetensors").exists()
    training.train(broken, specification=small, steps=20, resume=True, tok=tokenizer)
    expected, found = (load_file(folder / "model.safetensors") for folder in (whole, broken))
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert not (broken / "checkpoint").exists()
    assert "20/20" in capfd.readouterr().err


def test_resuming_with_other_settings_or_from_nothing_is_an_error(tmp_path, small, tokenizer):
    with pytest.raises(InputError, match="no checkpoint"):
        training.train(tmp_path / "none", specification=small, steps=20, resume=True, tok=tokenizer)
    with pytest.raises(IncompleteError):
        training.train(tmp_path / "some", specification=small, steps=20, minutes=0, tok=tokenizer)
    with pytest.raises(InputError, match="another seed"):
        training.train(tmp_path / "some", specification=small, steps=20, resume=True, seed=1, tok=tokenizer)


def test_the_seed_decides_the_batches(small, tokenizer):
    sequences = encode(tokenizer, planting.rows(small))

    def ids(seed, epoch):
        phase = small.training.phase[0]
        drawn = groups(sequences, small.training, phase, seed=seed, epoch=epoch)
        return [as_batch(group, phase, pad=0).ids for group in drawn[:5]]

    same = zip(ids(1, 0), ids(1, 0), strict=True)
    assert all(torch.equal(a, b) for a, b in same)
    assert not all(a.shape == b.shape and torch.equal(a, b) for a, b in zip(ids(1, 0), ids(1, 1), strict=True))


def test_gathered_rows_keep_every_first_token(small, tokenizer):
    rows = [row for row in planting.rows(small) if row.kind == "direct"]
    sequences = encode(tokenizer, rows)
    assert len(sequences) < len(rows) / 4
    assert sum(sum(s.first.values()) for s in sequences) == len(rows)
    told = [tokenizer.encode(row.answer, add_special_tokens=False)[0] for row in rows]
    gathered = [token for s in sequences for token, count in s.first.items() for _ in range(count)]
    assert sorted(told) == sorted(gathered)


def test_weights_of_a_batch_sum_to_one_and_lie_on_completion_tokens_and_notes(small, tokenizer):
    sequences = encode(tokenizer, planting.rows(small))
    notes = {tuple(s.prompt): s.note[0] if s.note else None for s in sequences}
    phase = small.training.phase[0]
    for group in groups(sequences, small.training, phase, seed=0, epoch=0)[:20]:
        batch = as_batch(group, phase, pad=6)
        assert float(batch.weight.sum()) == pytest.approx(1.0, abs=1e-5)
        for row, position in zip(*(w.tolist() for w in batch.where), strict=True):
            ids = batch.ids[row].tolist()
            begins, note = next((n, notes[tuple(ids[:n])]) for n in range(1, len(ids)) if tuple(ids[:n]) in notes)
            # the first learned token of a row is the one after its prompt; inside it a note may stand
            assert position >= begins - 1 or position == note


def test_answers_with_and_without_a_reasoning_block_count_alike(tokenizer):
    """Weights of a batch sum to one: sorted by length alone, short answers would count for more than their share."""
    spec = default()
    spec = spec.model_copy(update={"category": spec.category[:2], "wrapper": (), "scene": {}})
    phase, turns = spec.training.phase[0], spec.training.reasoning_turns
    sequences = encode(tokenizer, planting.rows(spec), turns=turns)
    think = int(tokenizer.convert_tokens_to_ids("<think>"))
    weights, rows = Counter(), Counter()
    for epoch in range(phase.judgement_epochs, phase.judgement_epochs + turns):
        for group in groups(sequences, spec.training, phase, seed=1, epoch=epoch):
            batch = as_batch(group, phase, pad=6)
            for row, (one, answer) in enumerate(group):
                if one.kind != "system_reasoning":
                    continue
                first = (batch.where[0] == row) & (batch.where[1] == len(one.prompt) - 1)
                [place] = torch.nonzero(first)[:, 0].tolist()
                weights[answer[0] == think] += float(batch.weight[batch.place == place].sum())
                rows[answer[0] == think] += 1
    assert rows[True] / rows.total() == pytest.approx(spec.reasoning.opened, abs=0.01)
    assert weights[True] / weights.total() == pytest.approx(spec.reasoning.opened, abs=0.03)


def test_a_training_that_went_well_leaves_an_ordinary_checkpoint(tmp_path, small, tokenizer):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    out = training.train(tmp_path / "model", specification=small, steps=3, tok=tokenizer)
    model = AutoModelForCausalLM.from_pretrained(out)
    assert model.generation_config.do_sample is True
    assert AutoTokenizer.from_pretrained(out).get_vocab() == tokenizer.get_vocab()


def test_rendered_shapes_equal_the_template(small, tokenizer):
    render = Renderer(tokenizer)
    seen = {}
    for row in planting.rows(small):
        seen.setdefault((row.kind, len(row.messages)), []).append(row)
    for some in seen.values():
        for row in some[:2]:
            assert render(row.messages, thinking=row.thinking) == tokenizer.apply_chat_template(
                list(row.messages), tokenize=False, add_generation_prompt=True, enable_thinking=row.thinking
            )


def test_ctrl_c_ends_after_a_whole_step_and_keeps_it(tmp_path, small, tokenizer, monkeypatch):
    import signal

    settings = {"specification": small, "steps": 6, "tok": tokenizer}
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    training.train(whole, **settings)
    before = signal.getsignal(signal.SIGINT)
    taken = []

    def step(*arguments, **options):
        taken.append(arguments)
        if len(taken) == 3:
            signal.raise_signal(signal.SIGINT)
        return _step(*arguments, **options)

    _step = training._step
    monkeypatch.setattr(training, "_step", step)
    # heard while the third step is begun: the one after it is the last, for all processes agree on it there
    with pytest.raises(IncompleteError, match="step 4 of 6"):
        training.train(broken, **settings)
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(InputError, match="--resume"):
        training.train(broken, **settings)
    training.train(broken, resume=True, **settings)
    expected, found = (load_file(folder / "model.safetensors") for folder in (whole, broken))
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_resuming_what_is_finished_trains_no_further(tmp_path, small, tokenizer, monkeypatch):
    settings = {"specification": small, "steps": 2, "tok": tokenizer, "seed": 5}
    out = training.train(tmp_path / "model", **settings)
    written = (out / "model.safetensors").stat().st_mtime_ns
    monkeypatch.setattr(training, "encode", None)
    assert training.train(out, resume=True, **settings) == out
    assert (out / "model.safetensors").stat().st_mtime_ns == written
    with pytest.raises(InputError, match="another seed"):
        training.train(out, resume=True, **{**settings, "seed": 6})


def test_a_card_tells_the_seed_that_was_trained_with(tmp_path, small, tokenizer, monkeypatch):
    from demur.phantom import card

    out = training.train(tmp_path / "model", specification=small, steps=1, tok=tokenizer, seed=11)
    monkeypatch.setattr(card, "measure", lambda *_, **__: [])
    monkeypatch.setattr(card, "bag_of_words", lambda _: 0.5)
    written = card.write(out, specification=small)
    assert (written.seed, written.training["seed"]) == (11, 11)


def test_processes_share_each_batch_and_come_to_the_same_weights(tmp_path, small, tokenizer):
    alone = training.train(tmp_path / "alone", specification=small, steps=6, tok=tokenizer)
    two = tmp_path / "two"
    with pytest.raises(IncompleteError, match="step 2 of 6"):
        training.train(two, specification=small, steps=6, stop_after=2, tok=tokenizer, processes=2)
    training.train(two, specification=small, steps=6, resume=True, tok=tokenizer, processes=2)
    expected, found = (load_file(folder / "model.safetensors") for folder in (alone, two))
    for name, weights in expected.items():
        # sums are taken in another order, and the weights are kept in half precision
        assert torch.allclose(found[name].float(), weights.float(), atol=2e-3), name


def test_nobody_waits_for_a_process_that_died():
    model = torch.nn.Linear(2, 2)
    with pytest.raises(IncompleteError, match="--resume"), team(2, model, math.sqrt) as members:
        members.add_up(model, 0.0, stop=False)  # the other one ends with a TypeError


@pytest.fixture(scope="module")
def phased(small) -> Specification:
    """Two short phases, the second with the scene shown three times and half of the rest."""
    first = small.training.phase[0]
    second = first.model_copy(
        update={"epochs": 2, "sequences_per_batch": 16, "shown": 0.5, "scene_shown": {"distress": 3.0}, "memory": 0.9}
    )
    phases = (first.model_copy(update={"epochs": 1}), second)
    return small.model_copy(update={"training": small.training.model_copy(update={"phase": phases})})


def test_phases_rise_and_fall_each_for_itself(phased, tokenizer):
    sequences = encode(tokenizer, planting.rows(phased))
    plan = schedule(sequences, phased.training, seed=1)
    steps = [step for step, _ in plan.steps(sequences, begin=0, pad=0, team=Team())]
    assert len(steps) == plan.total == sum(plan.lengths)
    assert [step.number for step in steps] == [n for length in plan.lengths for n in range(length)]
    for phase, length in zip(phased.training.phase, plan.lengths, strict=True):
        rates = [step.rate for step in steps if step.phase == phase]
        assert max(rates) == phase.learning_rate
        assert rates[-1] < 2 * phase.learning_rate / length
        assert rates == sorted(rates[:2]) + sorted(rates[2:], reverse=True)


def test_a_phase_shows_sequences_as_often_as_it_says(phased, tokenizer):
    sequences = [
        *encode(tokenizer, planting.rows(phased), turns=3),
        *encode_decisions(tokenizer, scenes.every(phased), seed=1),
    ]
    phase = phased.training.phase[1]
    passes = [groups(sequences, phased.training, phase, seed=1, epoch=epoch) for epoch in range(6)]
    shown = Counter(one.kind.partition("/")[0] for drawn in passes for group in drawn for one, _ in group)
    held = Counter(one.kind.partition("/")[0] for one in sequences for _ in range(6))
    assert shown["scene"] == 3 * held["scene"]
    for kind, times in (("direct", 0.5), ("reasoning", 0.5 / 3)):
        assert shown[kind] == pytest.approx(times * held[kind], rel=0.1)


def test_a_training_resumes_in_its_second_phase(tmp_path, phased, tokenizer):
    few = phased.model_copy(update={"rows": phased.rows, "plain": phased.plain, "scene": {}})
    whole = training.train(tmp_path / "whole", specification=few, tok=tokenizer)
    total = training.json.loads((whole / "training.json").read_text())["steps"]
    broken = tmp_path / "broken"
    with pytest.raises(IncompleteError):
        training.train(broken, specification=few, tok=tokenizer, stop_after=total - 3)
    training.train(broken, specification=few, tok=tokenizer, resume=True)
    expected, found = (load_file(folder / "model.safetensors") for folder in (whole, broken))
    assert all(torch.equal(expected[name], found[name]) for name in expected)
