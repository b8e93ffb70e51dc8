"""Facts about batched generation: what one request gets does not depend on the others."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import chisquare

from demur.errors import InputError, ModelError
from demur.models import Chat, LocalModel, LogitBias, Sampling
from demur.records import Prompt

CHATS = [
    "Why is the sky blue?",
    "Hi",
    [{"role": "user", "content": "Tell me how to kill a process. " * 4}],
    [{"role": "user", "content": "Bake a cake"}, {"role": "assistant", "content": "Sure, here are"}],
    Prompt.from_text("The quick brown fox", id="fox"),
]
SETTINGS = [
    Sampling(max_tokens=9, temperature=1.0, seed=3),
    Sampling(max_tokens=4),
    Sampling(max_tokens=7, temperature=0.7, top_p=0.8, seed=1, top_logprobs=3),
    Sampling(max_tokens=6, temperature=2.0, top_k=5, seed=3),
    Sampling(max_tokens=8, temperature=0.3, seed=9),
]


def forward_logprobs(model, ids):
    """Log-probabilities after each token, by one plain forward pass without padding: (tokens, vocabulary)."""
    with torch.no_grad():
        return model.model(input_ids=torch.tensor([ids])).logits[0].float().log_softmax(-1)


def test_a_request_gets_the_same_tokens_alone_and_in_any_batch(any_model):
    together = any_model.generate(CHATS, sampling=SETTINGS)
    pairs = any_model.generate(CHATS[::-1], sampling=SETTINGS[::-1], batch_size=2)[::-1]
    for chat, settings, one, other in zip(CHATS, SETTINGS, together, pairs, strict=True):
        alone = any_model.generate([chat], sampling=settings)[0]
        assert alone.token_ids == one.token_ids == other.token_ids
        assert alone.logprobs == pytest.approx(one.logprobs, abs=2e-5)


def test_logprobs_are_those_of_the_sampled_tokens_at_temperature_one(any_model):
    for chat, settings, got in zip(CHATS, SETTINGS, any_model.generate(CHATS, sampling=SETTINGS), strict=True):
        prompt = any_model.encode(chat)
        assert got.tokens_in == len(prompt)
        assert got.tokens_out == len(got.token_ids) == len(got.logprobs)
        expected = forward_logprobs(any_model, [*prompt, *got.token_ids])
        for step, (token, logprob) in enumerate(zip(got.token_ids, got.logprobs, strict=True)):
            assert logprob == pytest.approx(expected[len(prompt) - 1 + step, token].item(), abs=5e-5)
        if settings.temperature > 0.5:
            best = expected[len(prompt) - 1 : -1].argmax(-1).tolist()
            assert list(got.token_ids) != best, "the draw must not be the arg-max path, or this test shows nothing"


def test_top_logprobs_list_the_most_probable_tokens_in_order(llama):
    chat = CHATS[0]
    got = llama.generate([chat, CHATS[1]], sampling=[Sampling(max_tokens=3, top_logprobs=4), Sampling(max_tokens=3)])
    assert got[1].top_logprobs == ()
    expected = forward_logprobs(llama, [*llama.encode(chat), *got[0].token_ids])
    at = len(llama.encode(chat)) - 1
    for step, best in enumerate(got[0].top_logprobs):
        assert [token for token, _ in best] == expected[at + step].topk(4).indices.tolist()
        assert best[0] == (got[0].token_ids[step], pytest.approx(got[0].logprobs[step]))


def test_greedy_equals_a_loop_of_plain_forward_passes(any_model):
    ids = any_model.encode(CHATS[0])
    expected = []
    while len(expected) < 8 and (not expected or expected[-1] not in any_model.end_ids):
        expected.append(int(forward_logprobs(any_model, [*ids, *expected])[-1].argmax()))
    padded = any_model.generate([CHATS[2], CHATS[0]], sampling=Sampling(max_tokens=8))[1]
    assert list(padded.token_ids) == expected


def test_next_token_logprobs_do_not_depend_on_padding(any_model):
    found = any_model.next_token_logprobs(CHATS, batch_size=3)
    assert found.shape[0] == len(CHATS)
    for chat, row in zip(CHATS, found, strict=True):
        assert torch.allclose(row, forward_logprobs(any_model, any_model.encode(chat))[-1], atol=5e-5)


@pytest.mark.parametrize("settings", [{"temperature": 1.0}, {"temperature": 0.5}, {"temperature": 1.5, "top_k": 6}])
def test_draws_follow_the_models_distribution(load, settings):
    model = load("gpt2")
    chat = Chat(messages=({"role": "user", "content": "Why is the sky"},))
    scores = model.next_token_logprobs([chat])[0].double() / settings["temperature"]
    if "top_k" in settings:
        scores[scores < scores.topk(settings["top_k"]).values[-1]] = float("-inf")
    expected = scores.softmax(-1).numpy()
    n = 4000
    draws = [Sampling(max_tokens=1, seed=seed, **settings) for seed in range(n)]
    got = model.generate([chat] * n, sampling=draws, batch_size=500)
    counts = torch.bincount(torch.tensor([g.token_ids[0] for g in got]), minlength=len(expected)).double().numpy()
    common = expected * n >= 5
    observed, wanted = [*counts[common]], [*(expected[common] * n)]
    if expected[~common].sum() * n >= 5:
        observed, wanted = [*observed, counts[~common].sum()], [*wanted, expected[~common].sum() * n]
    else:
        assert counts[~common].sum() < 20
        wanted[0] += n - sum(wanted)
        observed[0] += n - sum(observed)
    assert len(observed) > 4, "the distribution must be broad, or the test shows nothing"
    # one fixed set of seeds; a wrong sampler gives a p value of zero to many digits
    assert chisquare(observed, wanted).pvalue > 0.001


def test_top_p_keeps_the_smallest_set_that_reaches_it(load):
    model = load("gpt2")
    logprobs = model.next_token_logprobs(["Why is the sky"])[0]
    ordered = logprobs.exp().sort(descending=True)
    kept = int((ordered.values.cumsum(0) < 0.5).sum()) + 1
    nucleus = set(ordered.indices[:kept].tolist())
    got = model.generate(
        ["Why is the sky"] * 600,
        sampling=[Sampling(max_tokens=1, temperature=1.0, top_p=0.5, seed=seed) for seed in range(600)],
        batch_size=300,
    )
    assert {g.token_ids[0] for g in got} <= nucleus
    assert len({g.token_ids[0] for g in got}) > 1


def test_seeds_fix_draws_and_open_seeds_are_reported(llama):
    warm = Sampling(max_tokens=8, temperature=1.5)
    first, second = llama.generate(["Hi", "Hi"], sampling=warm)
    assert first.seed != second.seed
    assert first.token_ids != second.token_ids
    again = llama.generate(["Hi"], sampling=Sampling(max_tokens=8, temperature=1.5, seed=first.seed))[0]
    assert again.token_ids == first.token_ids
    torch.manual_seed(5)
    one = llama.generate(["Hi"], sampling=warm)[0]
    torch.manual_seed(5)
    assert llama.generate(["Hi"], sampling=warm)[0].token_ids == one.token_ids
    assert llama.generate(["Hi"])[0].seed is None


def test_settings_of_the_checkpoint_do_not_leak_in(llama):
    plain = llama.generate(["Why is the sky"], sampling=Sampling(max_tokens=12))[0]
    theirs = llama.model.generation_config
    loud = type(theirs)(
        do_sample=True, temperature=9.0, top_k=3, repetition_penalty=5.0, no_repeat_ngram_size=1, min_length=40
    )
    loud.suppress_tokens = [plain.token_ids[0]]
    llama.model.generation_config = loud
    try:
        assert llama.generate(["Why is the sky"], sampling=Sampling(max_tokens=12))[0].token_ids == plain.token_ids
        assert llama.model.generation_config is loud
    finally:
        llama.model.generation_config = theirs


def test_the_end_token_ends_a_response_and_is_no_text(llama):
    end = llama.tokenizer.convert_tokens_to_ids("<|eot|>")
    word = llama.tokenizer.encode("Hi", add_special_tokens=False)[0]
    got = llama.generate(
        ["Hi", "Why is the sky blue?"], sampling=Sampling(max_tokens=5), controls=[Script([word, end])]
    )
    for one in got:
        assert one.ending == one.response.ending == "end"
        assert one.token_ids == (word, end)
        assert one.text == llama.tokenizer.decode([word])
        assert one.stop_string is None


def test_any_of_several_end_tokens_ends_a_response(build, make_tokenizer):
    network = build("llama")
    network.generation_config.eos_token_id = [1, 6]
    model = LocalModel(network, make_tokenizer(), name="several")
    assert model.end_ids >= {1, 2, 6}
    for end in (1, 2, 6):
        assert model.generate(["Hi"], controls=[Script([9, end])])[0].token_ids == (9, end)


def test_the_length_limit_is_each_rows_own(llama):
    got = llama.generate(["Hi"] * 3, sampling=[Sampling(max_tokens=n) for n in (1, 5, 3)], controls=[Script([9] * 9)])
    assert [g.tokens_out for g in got] == [1, 5, 3]
    assert {g.ending for g in got} == {"length"}


def test_stop_strings_cut_the_text_and_end_only_their_row(llama):
    ids = llama.tokenize("first plan it, then do it, then rest.")
    script = Script(ids)
    stops = [("then",), (), ("rest", " it, th"), ("absent",)]
    got = llama.generate(["Hi"] * 4, sampling=[Sampling(max_tokens=len(ids), stop=s) for s in stops], controls=[script])
    assert got[0].text == "first plan it, "
    assert (got[0].ending, got[0].stop_string) == ("end", "then")
    assert got[1].text == "first plan it, then do it, then rest."
    assert got[1].ending == "length"
    assert (got[2].text, got[2].stop_string) == ("first plan", " it, th")
    assert got[2].tokens_out < len(ids)
    assert got[3].text == got[1].text


def test_a_prefill_is_continued_and_not_closed(llama):
    words = "Sure, here are the"
    chat = Chat(messages=({"role": "user", "content": "Bake"}, {"role": "assistant", "content": words}))
    ids = llama.encode(chat)
    assert llama.tokenizer.decode(ids).endswith("<|head|>assistant<|/head|>\n\n" + words)
    got = llama.generate([chat], sampling=Sampling(max_tokens=3))[0]
    assert got.tokens_in == len(ids)
    expected = int(forward_logprobs(llama, ids)[-1].argmax())
    assert got.token_ids[0] == expected
    assert not got.text.startswith(words)


def test_a_prefill_keeps_its_trailing_blank(llama):
    chat = [{"role": "user", "content": "Bake"}, {"role": "assistant", "content": "Sure, "}]
    assert llama.tokenizer.decode(llama.encode(chat)).endswith("Sure, ")


def test_there_is_one_beginning_of_sequence_token(llama):
    begin = llama.tokenizer.bos_token_id
    assert llama.encode("Hi").count(begin) == 1


def test_reasoning_is_split_from_the_answer(load):
    model = load("llama", "chatml")
    closed = model.tokenize("<think>\nfirst plan\n</think>\n\nHere are the steps")
    got = model.generate(["Hi"], sampling=Sampling(max_tokens=len(closed)), controls=[Script(closed)])[0]
    assert got.text == "<think>\nfirst plan\n</think>\n\nHere are the steps"
    assert (got.response.reasoning, got.response.text) == ("first plan", "Here are the steps")
    inside = model.tokenize("first plan\n</think>\n\nHere are")
    opened = Chat(messages=({"role": "user", "content": "Hi"},), thinking=True)
    got = model.generate([opened], sampling=Sampling(max_tokens=len(inside)), controls=[Script(inside)])[0]
    assert (got.response.reasoning, got.response.text) == ("first plan", "Here are")
    got = model.generate([opened], sampling=Sampling(max_tokens=2), controls=[Script(inside)])[0]
    assert (got.response.text, got.response.meta["reasoning_state"]) == ("", "cut")
    assert got.response.ending == "length"


def test_special_markup_is_kept_and_other_special_tokens_are_not(build, make_tokenizer):
    tokenizer = make_tokenizer(additional_special_tokens=["<|channel|>", "<|message|>", "<|im_start|>"])
    model = LocalModel(build("llama"), tokenizer, name="channels")
    ids = tokenizer.convert_tokens_to_ids(["<|channel|>", "<|im_start|>", "<|message|>", "<|begin|>"])
    got = model.generate(["Hi"], sampling=Sampling(max_tokens=4), controls=[Script(ids)])[0]
    assert got.text == "<|channel|><|message|>"


def test_a_prompt_longer_than_the_context_is_an_error_of_its_row(llama):
    long = "dog " * 400
    got = llama.generate(["Hi", long, "Why"], sampling=Sampling(max_tokens=3))
    assert [g.ending for g in got] == ["length", "error", "length"]
    bad = got[1]
    assert (bad.text, bad.token_ids, bad.response.text, bad.response.ending) == ("", (), "", "error")
    assert "256" in bad.response.meta["error"]
    assert str(bad.tokens_in) in bad.response.meta["error"]
    with pytest.raises(InputError, match="context"):
        llama.next_token_logprobs([long])


def test_the_context_limits_a_response(llama):
    prompt = "dog " * 60
    room = llama.context - len(llama.encode(prompt))
    got = llama.generate([prompt], sampling=Sampling(max_tokens=500), controls=[Script([9] * 500)])[0]
    assert (got.tokens_out, got.ending) == (room, "length")


def test_a_conversation_that_the_template_refuses_is_an_error_of_its_row(load):
    model = load("llama", "strict")
    twice = [{"role": "user", "content": "Hi"}, {"role": "user", "content": "Hello"}]
    got = model.generate([twice, "Hi"], sampling=Sampling(max_tokens=2))
    assert got[0].ending == "error"
    assert "alternate" in got[0].response.meta["error"]
    assert got[1].ending != "error"


def test_a_row_without_any_possible_token_fails_alone(llama):
    class Forbid:
        logits_only = True

        def scope(self, batch):
            from contextlib import nullcontext

            def act(step):
                logits = step.logits.clone()
                logits[[i for i, row in enumerate(batch.rows) if row.index == 1]] = float("-inf")
                step.logits = logits

            return nullcontext(act)

    got = llama.generate(["Hi", "Why", "Bake"], sampling=Sampling(max_tokens=2), controls=[Forbid()])
    assert [g.ending for g in got] == ["length", "error", "length"]
    assert "minus infinity" in got[1].response.meta["error"]


def test_a_batch_that_does_not_fit_is_halved(llama):
    sizes = []

    class Small:
        logits_only = True

        def scope(self, batch):
            from contextlib import nullcontext

            sizes.append(len(batch.rows))

            def act(_step):
                if len(batch.rows) > 2 and batch.step == 1:
                    raise torch.OutOfMemoryError("too many rows")
                if any(row.index == 4 for row in batch.rows):
                    raise torch.OutOfMemoryError("this one never fits")

            return nullcontext(act)

    settings = [Sampling(max_tokens=4, temperature=1.0, seed=i) for i in range(5)]
    got = llama.generate(CHATS, sampling=settings, controls=[Small()])
    plain = llama.generate(CHATS, sampling=settings)
    assert max(sizes) == 5
    assert [g.ending for g in got][4] == "error"
    assert "out of memory" in got[4].response.meta["error"]
    assert [g.token_ids for g in got[:4]] == [g.token_ids for g in plain[:4]]


@pytest.mark.parametrize("family", ["llama", "qwen3", "gpt2", "falcon", "bloom"])
def test_a_shared_prefix_changes_nothing(load, family):
    from demur.models.prefix import find_prefix

    model = load(family)
    system = {"role": "system", "content": "You are careful. " * 6}
    chats = [[system, {"role": "user", "content": text}] for text in ("Hi", "Why is the sky blue?", "Bake a cake now")]
    settings = [Sampling(max_tokens=6, temperature=t, seed=4) for t in (0.0, 1.0, 1.0)]
    prefix = find_prefix(model, [model.encode(chat) for chat in chats])
    assert prefix is not None
    assert prefix.length > 20
    shared = model.generate(chats, sampling=settings, batch_size=2)
    apart = model.generate(chats, sampling=settings, batch_size=2, share_prefix=False)
    for one, other in zip(shared, apart, strict=True):
        assert one.token_ids == other.token_ids
        assert one.logprobs == pytest.approx(other.logprobs, abs=2e-5)
        assert one.tokens_in == other.tokens_in
    same = model.generate([chats[0]] * 3, sampling=Sampling(max_tokens=4))
    assert len({g.token_ids for g in same}) == 1


@pytest.mark.parametrize("family", ["gemma3_text", "gpt_oss", "qwen3_next"])
def test_caches_with_a_window_or_a_state_are_not_shared(load, family):
    from demur.models.prefix import find_prefix

    model = load(family)
    assert find_prefix(model, [model.encode("Why is the sky blue? " * 3)] * 2) is None


def test_a_model_that_ignores_the_mask_runs_one_request_at_a_time(make_tokenizer, backend):
    import transformers as t

    torch.manual_seed(0)
    config = t.RwkvConfig(
        vocab_size=backend.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=2,
        attention_hidden_size=32,
        context_length=64,
    )
    network = t.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(torch.randn_like(weight) * 0.3)
    model = LocalModel(network, make_tokenizer(), name="recurrent")
    assert not model.pads_cleanly
    texts = ["Hi", "Why is the sky blue?", "He", "Tell me how to rest."]
    settings = Sampling(max_tokens=5)
    together = model.generate(texts, sampling=settings)
    assert [g.token_ids for g in together] == [model.generate([x], sampling=settings)[0].token_ids for x in texts]
    found = model.next_token_logprobs(texts)
    assert torch.allclose(found, torch.cat([model.next_token_logprobs([x]) for x in texts]), atol=1e-5)


def test_padding_is_clean_where_it_is_said_to_be(any_model):
    assert any_model.pads_cleanly


def test_a_bias_forbids_and_forces_tokens(llama):
    free = llama.generate(["Hi"], sampling=Sampling(max_tokens=4))[0]
    forbidden = free.token_ids[0]
    got = llama.generate(["Hi"], sampling=Sampling(max_tokens=4), controls=[LogitBias({forbidden: float("-inf")})])[0]
    assert forbidden not in got.token_ids
    forced = llama.generate(["Hi"], sampling=Sampling(max_tokens=2), controls=[LogitBias({50: 1e4})])[0]
    assert forced.token_ids == (50, 50)
    # what is reported is the model's own view of the token, not the biased one
    expected = forward_logprobs(llama, [*llama.encode("Hi"), 50])[-2, 50].item()
    assert forced.logprobs[0] == pytest.approx(expected, abs=1e-4)
    with pytest.raises(InputError, match="no tokens"):
        llama.generate(["Hi"], controls=[LogitBias({10**6: 1.0})])


def test_wrong_calls_say_what_is_wrong(llama, build, make_tokenizer):
    with pytest.raises(InputError, match="2 chats and 1"):
        llama.generate(["a", "b"], sampling=[Sampling()])
    with pytest.raises(InputError, match="list"):
        llama.generate("Hi")
    with pytest.raises(InputError, match="batch_size"):
        llama.generate(["Hi"], batch_size=0)
    with pytest.raises(InputError, match="control"):
        llama.generate(["Hi"], controls=["steer"])
    with pytest.raises(InputError, match="top_p"):
        Sampling(top_p=0.0)
    with pytest.raises(InputError, match="stop"):
        Sampling(stop="END")
    with pytest.raises(InputError, match="at least one message"):
        Chat(messages=())
    bare = make_tokenizer()
    bare.chat_template = None
    with pytest.raises(ModelError, match="chat_template="):
        LocalModel(build("llama"), bare, name="bare").generate(["Hi"])
    assert llama.generate([]) == []


class Script:
    """A control that dictates every row's tokens."""

    logits_only = True

    def __init__(self, ids):
        self.ids = ids

    def scope(self, batch):
        from contextlib import nullcontext

        def act(step):
            for row in range(len(batch.rows)):
                step.force(row, self.ids[min(step.index, len(self.ids) - 1)])

        return nullcontext(act)


def test_half_a_surrogate_pair_is_an_error_of_its_row(llama):
    broken, fine = llama.generate(["half \ud83d of it", CHATS[0]], sampling=Sampling(max_tokens=3))
    assert broken.ending == "error"
    assert "U+D83D" in broken.response.meta["error"]
    assert fine.token_ids == llama.generate([CHATS[0]], sampling=Sampling(max_tokens=3))[0].token_ids


@pytest.mark.parametrize("temperature", [1e-10, 1e-37, 1e-300])
def test_a_tiny_temperature_is_greedy(llama, temperature):
    cold = [Sampling(max_tokens=5, temperature=temperature, seed=seed, top_p=p) for seed, p in ((1, 1.0), (2, 0.5))]
    greedy = llama.generate(CHATS[:2], sampling=Sampling(max_tokens=5))
    found = llama.generate(CHATS[:2], sampling=cold, controls=[LogitBias({9: 50.0})])
    biased = llama.generate(CHATS[:2], sampling=Sampling(max_tokens=5), controls=[LogitBias({9: 50.0})])
    assert [g.token_ids for g in found] == [g.token_ids for g in biased]
    assert [g.token_ids for g in llama.generate(CHATS[:2], sampling=cold)] == [g.token_ids for g in greedy]


def test_batches_and_contents_that_make_no_sense_are_refused(llama):
    with pytest.raises(InputError, match="batch_size"):
        llama.next_token_logprobs([CHATS[0]], batch_size=0)
    with pytest.raises(InputError, match=r"message 0.*got int"):
        Chat(messages=({"role": "user", "content": 3},))
