"""Steering and ablation: what is exact, what the phantom does, and that random directions do less."""

# ruff: noqa: F811 - fixtures are imported by name

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'local'")

from phantom_states import decided, found, phantom_model, refusal_tokens  # noqa: E402, F401 - fixtures

from demur import phantom  # noqa: E402
from demur.errors import InputError  # noqa: E402
from demur.states.interventions import ablating, attention_writers, pushed, refusal_rate, sweep  # noqa: E402


@pytest.fixture(scope="module")
def harmful():
    return [
        p
        for p in phantom.prompts(per_condition=12, kinds=["direct"], seed=2)
        if p.meta["condition"] in ("direct/violence/harmful", "direct/weapons/harmful")
    ]


def test_no_push_is_no_change(phantom_model, found, harmful):
    plain = phantom_model.next_token_logprobs(harmful)
    with pushed(phantom_model, found.at("refusal", 1, "last"), 0.0):
        assert torch.equal(phantom_model.next_token_logprobs(harmful), plain)
    assert torch.equal(phantom_model.next_token_logprobs(harmful), plain)


def test_taking_refusal_away_lets_harm_through(phantom_model, found, harmful, refusal_tokens):
    swept = sweep(
        phantom_model,
        harmful,
        [found.at("refusal", layer, "last") for layer in range(4)],
        strengths=[-2.0],
        refusal_tokens=refusal_tokens,
        random=3,
    )
    assert swept.baseline > 0.9
    for row in swept.rows:
        assert row.rate < min(row.random)
    assert swept.strongest().rate < 0.3
    assert "random directions" in swept._repr_html_()


def test_harm_and_refusal_do_different_things(phantom_model, found, refusal_tokens):
    """Pushed along refusal the phantom declines everyday requests; pushed as far along harm it does not."""
    plain = [p for p in phantom.prompts(per_condition=16, kinds=["direct"], seed=2) if p.meta["group"] == "plain"]

    def far(direction):
        swept = sweep(phantom_model, plain, [direction], strengths=[2.0], refusal_tokens=refusal_tokens, random=3)
        return swept.rows[0]

    refusal = far(decided(found))
    assert refusal.rate > 0.3
    assert refusal.rate > 2.5 * max(refusal.random)
    assert far(found.best("harmfulness")).rate < 0.2


def test_generated_rates_are_judged(phantom_model, found, harmful):
    assert refusal_rate(phantom_model, harmful[:8], max_tokens=12).value >= 0.8
    steered = sweep(phantom_model, harmful[:8], [decided(found)], strengths=[-2.0], random=1, max_tokens=12)
    assert not steered.exact
    assert steered.rows[0].rate <= 0.2


def test_ablation_leaves_nothing_of_the_direction(phantom_model, found, harmful):
    from demur.models import reading

    vector = found.at("refusal", 3, "last").vector
    unit, worst = vector / vector.norm(), []

    def look(_site, x):
        worst.append(float((x @ unit).abs().max() / x.norm(dim=-1).max()))

    sites = [(layer, "resid_post") for layer in range(4)]
    before = phantom_model.next_token_logprobs(harmful[:4])
    with ablating(phantom_model, vector), reading(phantom_model.structure, sites, look):
        phantom_model.next_token_logprobs(harmful[:4])
    assert max(worst) < 1e-5
    assert torch.equal(phantom_model.next_token_logprobs(harmful[:4]), before)


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_ablation_is_that_of_every_write(family):
    """Against an independent path: the direction taken out of everything that is added to the stream."""
    import transformers

    from demur.models.structure import discover

    torch.manual_seed(0)
    sizes = {
        "vocab_size": 64,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "tie_word_embeddings": False,
    }
    config, kind = {
        "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM),
        "gemma2": (transformers.Gemma2Config, transformers.Gemma2ForCausalLM),
    }[family]
    network = kind(config(**sizes, attn_implementation="eager")).eval()
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if "norm" in name:
                weight.copy_(torch.randn_like(weight))

    class Bare:
        structure = discover(network)
        model = network
        device = torch.device("cpu")

        class _lock:  # noqa: N801
            __enter__ = __exit__ = staticmethod(lambda *_: None)

        _lock = _lock()

    u = torch.randn(32)
    u /= u.norm()
    ids = torch.randint(0, 64, (2, 7))
    with ablating(Bare, u), torch.no_grad():
        hooked = network(ids).logits
    project = torch.eye(32) - torch.outer(u, u)
    writers = {
        "llama": ("self_attn.o_proj", "mlp.down_proj"),
        "gemma2": ("post_attention_layernorm", "post_feedforward_layernorm"),
    }
    handles = [network.model.layers[0].register_forward_pre_hook(lambda _m, args: (args[0] @ project, *args[1:]))]
    for layer in network.model.layers:
        for name in writers[family]:
            part = layer.get_submodule(name)
            handles.append(part.register_forward_hook(lambda _m, _a, out: out @ project))
    with torch.no_grad():
        expected = network(ids).logits
    for handle in handles:
        handle.remove()
    torch.testing.assert_close(hooked, expected, atol=2e-5, rtol=1e-4)
    names = {id(module): name for name, module in network.named_modules()}
    assert all(
        names[id(w)].endswith({"llama": "self_attn", "gemma2": "post_attention_layernorm"}[family])
        for w in attention_writers(Bare)
    )


def test_bad_input(phantom_model, found):
    with pytest.raises(InputError, match="width 160"):
        next(iter(ablating(phantom_model, torch.zeros(160)).gen))
    with pytest.raises(InputError, match="needs prompts"):
        sweep(phantom_model, [], [found.best("refusal")])


@pytest.mark.parametrize("family", ["gpt2", "qwen3", "gemma3_text", "gpt_oss", "falcon", "bloom"])
def test_every_family_is_kept_free_and_left_as_it_was(family, load):
    from demur.models import reading

    model = load(family)
    vector = torch.randn(model.structure.width, generator=torch.Generator().manual_seed(0))
    unit, worst = vector / vector.norm(), []

    def look(_site, x):
        worst.append(float((x @ unit).abs().max() / x.norm(dim=-1).max()))

    before = model.next_token_logprobs(["Why is the sky blue?"])
    sites = [(layer, "resid_post") for layer in range(len(model.structure))]
    with ablating(model, vector), reading(model.structure, sites, look):
        changed = model.next_token_logprobs(["Why is the sky blue?"])
    assert max(worst) < 1e-5
    assert not torch.equal(changed, before)
    assert torch.equal(model.next_token_logprobs(["Why is the sky blue?"]), before)
    own = {"gemma3_text": "RMSNorm"}.get(family)
    if own:  # the norm after attention writes to the stream, and not the projection
        assert all(own in type(writer).__name__ for writer in attention_writers(model))
