"""Facts about hooks, operators and controls: scoped, out of place, and equal to an independent path."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial

import pytest
import torch

from demur.errors import InputError, ModelError
from demur.models import Control, Sampling, Steering, reading, writing
from demur.models.generation import left_padded
from demur.models.operators import ablate, add, clamp, scale_heads


def logits(model, texts=("Why is the sky blue?", "Hi")):
    ids, mask = left_padded([model.encode(text) for text in texts], model.pad_id, model.device)
    with torch.no_grad():
        return model.model(input_ids=ids, attention_mask=mask).logits


def read(model, sites, text="Why is the sky blue?"):
    kept = {}
    with reading(model.structure, sites, lambda site, activation: kept.update({site: activation.detach().clone()})):
        logits(model, (text,))
    return kept


def random(size, seed=0):
    return torch.randn(size, generator=torch.Generator().manual_seed(seed))


def test_logits_after_hooks_equal_those_before_bit_by_bit(any_model):
    before = logits(any_model)
    width = any_model.structure.width
    edits = {
        (0, "resid_pre"): partial(add, vector=random(width)),
        (1, "resid_post"): partial(ablate, direction=random(width)),
        (2, "attn_heads"): partial(scale_heads, heads=[0, 2]),
    }
    with writing(any_model.structure, edits):
        during = logits(any_model)
    assert not torch.allclose(before, during, atol=1e-3)
    assert torch.equal(before, logits(any_model))
    with pytest.raises(RuntimeError, match="on purpose"), writing(any_model.structure, edits):
        raise RuntimeError("on purpose")
    assert torch.equal(before, logits(any_model))


def test_reading_changes_nothing_and_writing_the_same_value_changes_nothing(any_model):
    before = logits(any_model)
    sites = [(1, "resid_pre"), (1, "resid_post"), (1, "attn_heads")]
    with (
        reading(any_model.structure, sites, lambda _site, _activation: None),
        writing(any_model.structure, dict.fromkeys(sites, lambda activation: activation)),
    ):
        assert torch.equal(before, logits(any_model))


def test_states_equal_those_of_output_hidden_states(load):
    # falcon and bloom ignore the option in parts; the last state is normed, so it is compared through the norm
    for family in ("llama", "qwen3", "gemma3_text", "gpt_oss"):
        model = load(family)
        sites = [(layer, site) for layer in range(3) for site in ("resid_pre", "resid_post")]
        kept = read(model, sites)
        ids = torch.tensor([model.encode("Why is the sky blue?")])
        with torch.no_grad():
            states = model.model(input_ids=ids, output_hidden_states=True).hidden_states
        for layer in range(3):
            assert torch.equal(kept[layer, "resid_pre"], states[layer])
        for layer in range(2):
            assert torch.equal(kept[layer, "resid_post"], states[layer + 1])
        assert torch.equal(model.structure.norm(kept[2, "resid_post"]), states[3])


def test_what_leaves_a_block_enters_the_next_and_ends_in_the_logits(any_model):
    kept = read(any_model, [(1, "resid_post"), (2, "resid_pre"), (2, "resid_post")])
    assert torch.equal(kept[1, "resid_post"], kept[2, "resid_pre"])
    structure = any_model.structure
    with torch.no_grad():
        last = structure.unembedding(structure.norm(kept[2, "resid_post"]))
    assert torch.allclose(last, logits(any_model, ("Why is the sky blue?",)), atol=1e-5)


def test_the_heads_add_up_to_what_attention_writes(any_model):
    structure = any_model.structure
    written = {}
    site = structure.attention(1)
    handle = site.projection.register_forward_hook(lambda _m, _a, output: written.update(out=output))
    try:
        heads = read(any_model, [(1, "attn_heads")])[1, "attn_heads"]
    finally:
        handle.remove()
    assert heads.shape[-2:] == (site.heads, site.head_size)
    with torch.no_grad():
        nothing = site.projection(torch.zeros_like(heads).flatten(-2))
        parts = []
        for head in range(site.heads):
            alone = torch.zeros_like(heads)
            alone[..., head, :] = heads[..., head, :]
            parts.append(site.projection(alone.flatten(-2)) - nothing)
    assert torch.allclose(sum(parts) + nothing, written["out"], atol=1e-4)


@pytest.mark.parametrize("hidden_states_first", [True, False])
def test_writes_are_seen_by_hidden_states_whoever_came_first(build, make_tokenizer, hidden_states_first):
    from demur.models import LocalModel

    # a fresh model: transformers installs its hooks at the first call that asks for states and never removes them
    model = LocalModel(build("llama"), make_tokenizer(), name="fresh")
    ids = torch.tensor([model.encode("Hi")])

    def states():
        with torch.no_grad():
            return model.model(input_ids=ids, output_hidden_states=True).hidden_states

    plain = states() if hidden_states_first else None
    vector = random(model.structure.width)
    with writing(model.structure, {(0, "resid_post"): partial(add, vector=vector)}):
        steered = states()
    plain = plain or states()
    assert torch.allclose(steered[1], plain[1] + vector, atol=1e-6)


def test_reads_come_after_all_writes_and_writes_act_in_the_order_of_their_scopes(llama):
    seen = {}
    site = (1, "resid_post")
    with (
        reading(llama.structure, [site], lambda _site, activation: seen.update(value=activation.clone())),
        writing(llama.structure, {site: lambda activation: torch.full_like(activation, 2.0)}),
        writing(llama.structure, {site: lambda activation: activation * 3.0}),
    ):
        logits(llama)
    assert torch.all(seen["value"] == 6.0)


def test_gradients_pass_through_a_write(llama):
    vector = random(llama.structure.width).requires_grad_()
    ids = torch.tensor([llama.encode("Hi")])
    with writing(llama.structure, {(0, "resid_post"): partial(add, vector=vector)}):
        llama.model(input_ids=ids).logits.sum().backward()
    assert vector.grad is not None
    assert vector.grad.abs().sum() > 0
    llama.model.zero_grad()


def test_operators_do_what_they_say_and_leave_their_input():
    activation = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(1))
    copy, direction = activation.clone(), random(8, 2) * 5
    unit = direction / direction.norm()
    assert (ablate(activation, direction) @ unit).abs().max() < 1e-6
    clamped = clamp(activation, direction, 1.5)
    assert torch.allclose(clamped @ unit, torch.full((2, 3), 1.5), atol=1e-5)
    away = ablate(activation, direction)
    assert torch.allclose(ablate(clamped, direction), away, atol=1e-5)
    per_row = add(activation, direction, torch.tensor([0.0, 2.0]).view(2, 1, 1))
    assert torch.equal(per_row[0], activation[0])
    assert torch.allclose(per_row[1], activation[1] + 2 * direction)
    off = scale_heads(activation.view(2, 3, 4, 2), [1])
    assert torch.all(off[:, :, 1] == 0)
    assert torch.equal(off[:, :, 0], activation.view(2, 3, 4, 2)[:, :, 0])
    assert torch.equal(activation, copy)
    half = ablate(activation.bfloat16(), direction)
    assert half.dtype == torch.bfloat16
    with pytest.raises(InputError, match="zero vector"):
        ablate(activation, torch.zeros(8))
    with pytest.raises(InputError, match="width 8"):
        add(activation, torch.ones(7))
    with pytest.raises(InputError, match="no head 9"):
        scale_heads(activation.view(2, 3, 4, 2), [9])


def test_wrong_sites_are_errors(llama):
    with pytest.raises(ModelError, match="no layer 7"), writing(llama.structure, {(7, "resid_post"): torch.clone}):
        pass
    with pytest.raises(InputError, match="unknown site"), writing(llama.structure, {(0, "mlp"): torch.clone}):
        pass
    before = logits(llama)
    edits = {(0, "resid_post"): partial(add, vector=random(32)), (9, "resid_post"): torch.clone}
    with pytest.raises(ModelError), writing(llama.structure, edits):
        pass
    assert torch.equal(before, logits(llama)), "a scope that failed half-way must leave no hook"


CHATS = ["Hi", "Why is the sky blue?", "Tell me how to kill a process that hangs, and then rest."]


def test_steering_a_batch_of_unequal_prompts_equals_steering_each_alone(any_model):
    control = Steering(random(any_model.structure.width) * 0.5, (1, "resid_post"))
    assert isinstance(control, Control)
    settings = Sampling(max_tokens=6)
    plain = any_model.generate(CHATS, sampling=settings)
    steered = any_model.generate(CHATS, sampling=settings, controls=[control])
    alone = [any_model.generate([chat], sampling=settings, controls=[control])[0] for chat in CHATS]
    assert [g.token_ids for g in steered] == [g.token_ids for g in alone]
    assert [g.logprobs for g in steered] != [g.logprobs for g in plain]
    assert [g.token_ids for g in any_model.generate(CHATS, sampling=settings)] == [g.token_ids for g in plain]


def test_steering_equals_a_change_of_the_weights(llama):
    # adding v to what leaves block 1 is adding v to a bias of the last thing that block writes
    vector = random(llama.structure.width) * 0.5
    down = llama.structure.block(1).mlp.down_proj
    steered = llama.generate(CHATS, sampling=Sampling(max_tokens=6), controls=[Steering(vector, (1, "resid_post"))])
    handle = down.register_forward_hook(lambda _m, _a, output: output + vector)
    try:
        expected = llama.generate(CHATS, sampling=Sampling(max_tokens=6))
    finally:
        handle.remove()
    for one, other in zip(steered, expected, strict=True):
        assert one.token_ids == other.token_ids
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)


def test_a_strength_for_each_request_reaches_its_own_row(llama):
    vector, settings = random(llama.structure.width), Sampling(max_tokens=5)
    site = (1, "resid_post")
    mixed = llama.generate(CHATS, sampling=settings, controls=[Steering(vector, site, strength=[0.0, 1.0, -1.0])])
    for number, strength in enumerate([0.0, 1.0, -1.0]):
        alone = llama.generate([CHATS[number]], sampling=settings, controls=[Steering(vector, site, strength=strength)])
        assert mixed[number].token_ids == alone[0].token_ids
    with pytest.raises(InputError, match="strengths"):
        llama.generate(CHATS, controls=[Steering(vector, site, strength=[1.0])])


def test_steering_the_prompt_and_the_generated_tokens_are_the_parts_of_all(llama):
    vector, site, settings = random(llama.structure.width), (1, "resid_post"), Sampling(max_tokens=5)

    def run(*where):
        controls = [Steering(vector, site, where=part) for part in where]
        return [(g.token_ids, g.logprobs) for g in llama.generate(CHATS, sampling=settings, controls=controls)]

    assert run("prompt", "generated") == run("all")
    plain, later = run(), run("generated")
    # the first token is decided by the prompt alone
    assert [ids[0] for ids, _ in later] == [ids[0] for ids, _ in plain]
    assert run("prompt") != plain
    assert later != plain


def test_controls_compose_in_order_and_keep_state_per_row(llama):
    class Count:
        """Ends each row after as many tokens as its index says, and keeps what it saw."""

        logits_only = True

        def __init__(self):
            self.seen = {}

        def scope(self, batch):
            def act(step):
                for number, row in enumerate(batch.rows):
                    self.seen.setdefault(row.index, []).append(float(step.logits[number, 5]))
                    if row.ending is None and len(row.token_ids) == row.index + 1:
                        step.finish(number)

            return nullcontext(act)

    from demur.models import LogitBias

    count = Count()
    got = llama.generate(CHATS, sampling=Sampling(max_tokens=9), controls=[LogitBias({5: 1e6}), count], batch_size=2)
    assert [g.token_ids for g in got] == [(5,), (5, 5), (5, 5, 5)]
    assert {g.ending for g in got} == {"end"}
    assert min(min(values) for values in count.seen.values()) > 1e5


def test_a_fork_looks_ahead_without_changing_the_generation(any_model):
    header = any_model.tokenize("<|eot|><|head|>assistant<|/head|>")
    kept = {}

    class Peek:
        logits_only = True

        def scope(self, batch):
            def act(step):
                fork = step.fork()
                first = fork.append(torch.tensor(header))
                then = fork.append(torch.full((len(batch.rows), 1), 40))
                for number, row in enumerate(batch.rows):
                    kept[row.index, step.index] = (list(row.token_ids), first[number, -1], then[number, -1])

            return nullcontext(act)

    settings = Sampling(max_tokens=4, temperature=1.0, seed=2)
    plain = any_model.generate(CHATS, sampling=settings)
    peeked = any_model.generate(CHATS, sampling=settings, controls=[Peek()])
    assert [g.token_ids for g in plain] == [g.token_ids for g in peeked]
    for (index, step), (so_far, first, then) in kept.items():
        if len(so_far) != step:  # the row had ended before
            continue
        ids = [*any_model.encode(CHATS[index]), *so_far, *header, 40]
        with torch.no_grad():
            expected = any_model.model(input_ids=torch.tensor([ids])).logits[0]
        assert torch.allclose(first, expected[-2], atol=2e-4)
        assert torch.allclose(then, expected[-1], atol=2e-4)


def test_a_fork_before_the_first_token_is_no_reading_of_the_prompt(llama):
    vector, site = random(llama.structure.width), (1, "resid_post")

    def look(*where):
        seen = []

        class Peek:
            logits_only = True

            def scope(self, batch):
                return nullcontext(lambda step: seen.append(step.fork().append(torch.tensor([40, 41]))))

        controls = [*(Steering(vector, site, where=part) for part in where), Peek()]
        llama.generate(CHATS, sampling=Sampling(max_tokens=1), controls=controls)
        return seen[0]

    assert not torch.allclose(look("generated"), look(), atol=1e-2)
    assert torch.equal(look("prompt", "generated"), look("all"))
