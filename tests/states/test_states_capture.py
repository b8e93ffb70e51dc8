"""Facts about capture: order, masks, stopping, edits in force, shards, and what is refused."""

from __future__ import annotations

import json

import pytest
import torch

from demur.errors import ArtefactError, InputError, ModelError
from demur.models import LocalModel, reading, writing
from demur.states import Captured, Site, capture

CHATS = ["Hi", "Why is the sky blue?", "Tell me how to kill a process that hangs on my machine.", "Bake a cake", "Why?"]
BARE = "{% for m in messages %}{{ m['content'] }}{% endfor %}"


def test_states_come_back_in_the_order_of_the_chats(llama):
    together = capture(llama, CHATS, positions=["last"], batch_size=2)
    for number, chat in enumerate(CHATS):
        alone = capture(llama, [chat], positions=["last"])
        assert torch.allclose(
            together.states((-1, "resid_post"))[number], alone.states((2, "resid_post"))[0], atol=1e-4
        )


def test_positions_are_the_tokens_that_positions_finds(llama):
    found = capture(llama, CHATS, positions=["last_instruction", "post_instruction:*", 0, -1], sites=[(1, "resid_pre")])
    for number, chat in enumerate(CHATS):
        parts = llama.positions(chat)
        wanted = [parts.last_instruction, *parts.post_instruction, 0, parts.last]
        assert found.tokens[number].tolist() == wanted
        seen = {}
        ids = torch.tensor([llama.encode(chat)])
        with torch.no_grad(), reading(llama.structure, [(1, "resid_pre")], lambda s, a, d=seen: d.update({s: a})):
            llama.model(input_ids=ids)
        assert torch.allclose(found.states((1, "resid_pre"))[number], seen[1, "resid_pre"][0, wanted], atol=1e-4)
    assert found.positions[1] == "post_instruction:0"
    assert torch.equal(found.at((1, "resid_pre"), -1), found.states((1, "resid_pre"))[:, -1])


def test_a_chat_without_the_position_is_masked_and_not_a_number(llama):
    prefilled = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Here are the steps"}]
    found = capture(llama, ["Hi", prefilled], positions=["last", "first_answer"], sites=[(0, "resid_post")])
    assert found.mask("last").tolist() == [True, True]
    assert found.mask("first_answer").tolist() == [False, True]
    assert found.at((0, "resid_post"), "first_answer").isnan().all(-1).tolist() == [True, False]


def test_nothing_runs_after_the_last_wanted_site(llama):
    ran = []
    structure = llama.structure
    watched = {
        "block 1": structure.block(1).module,
        "mlp 1": structure.block(1).mlp,
        "block 2": structure.block(2).module,
        "norm": structure.norm,
        "unembedding": structure.unembedding,
    }
    handles = [
        module.register_forward_pre_hook(lambda _m, _a, name=name: ran.append(name)) for name, module in watched.items()
    ]
    try:
        capture(llama, ["Hi"], positions=["last"], sites=[(1, "attn_heads"), (0, "resid_post")])
        assert ran == ["block 1"]
        ran.clear()
        capture(llama, ["Hi"], positions=["last"])
        assert ran == ["block 1", "mlp 1", "block 2"]
    finally:
        for handle in handles:
            handle.remove()


def test_edits_in_force_are_seen_and_gone_afterwards(llama):
    sites, options = [(0, "resid_post"), (2, "resid_post")], {"positions": ["last"]}
    plain = capture(llama, CHATS, sites=sites, **options)
    vector = torch.randn(llama.structure.width, generator=torch.Generator().manual_seed(0))
    with writing(llama.structure, {(0, "resid_post"): lambda activation: activation + vector}):
        edited = capture(llama, CHATS, sites=sites, **options)
    again = capture(llama, CHATS, sites=sites, **options)
    assert torch.allclose(edited.states(sites[0]), plain.states(sites[0]) + vector, atol=1e-4)
    assert not torch.allclose(edited.states(sites[1]), plain.states(sites[1]), atol=1e-2)
    assert torch.equal(again.states(sites[1]), plain.states(sites[1]))


def test_a_batch_that_does_not_fit_is_halved(llama):
    expected = capture(llama, CHATS, positions=["last"])
    sizes = []

    def full(_module, args, kwargs):
        size = (args[0] if args else kwargs["hidden_states"]).shape[0]
        sizes.append(size)
        if size > 2:
            raise torch.OutOfMemoryError("on purpose")

    handle = llama.structure.block(0).module.register_forward_pre_hook(full, with_kwargs=True)
    try:
        found = capture(llama, CHATS, positions=["last"], batch_size=5)
    finally:
        handle.remove()
    assert max(sizes) == 5
    assert torch.allclose(found.states((2, "resid_post")), expected.states((2, "resid_post")), atol=1e-4)


def test_padding_that_a_model_sees_is_avoided(make_tokenizer, backend):
    import transformers

    # an encoder: every token sees the ones after it
    config = transformers.BertConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48, vocab_size=600
    )
    torch.manual_seed(0)
    network = transformers.BertLMHeadModel(config).eval()
    with torch.no_grad():
        for weight in network.parameters():
            if weight.ndim >= 2:
                weight.mul_(6.0)
    model = LocalModel(network, make_tokenizer(), name="two-sided")
    chats = [*CHATS, "Hi", "Yo"]
    together = capture(model, chats, positions=["last_instruction"], batch_size=7)
    alone = capture(model, chats, positions=["last_instruction"], batch_size=1)
    assert torch.allclose(together.states((1, "resid_post")), alone.states((1, "resid_post")), atol=1e-4)


@pytest.mark.filterwarnings("ignore::Warning")  # of accelerate, about what it offloads
def test_weights_that_wait_on_disk_give_the_same_states(llama, build, make_tokenizer, tmp_path):
    build("llama").save_pretrained(tmp_path / "tiny")
    make_tokenizer().save_pretrained(tmp_path / "tiny")
    places = {f"model.layers.{layer}": "disk" if layer else "cpu" for layer in range(3)}
    places |= dict.fromkeys(["model.embed_tokens", "model.rotary_emb", "model.norm", "lm_head"], "cpu")
    model = LocalModel.load(tmp_path / "tiny", device_map=places, offload_folder=tmp_path / "offload")
    sites = [(layer, point) for layer in range(3) for point in ("resid_pre", "resid_post", "attn_heads")]
    expected = capture(llama, CHATS, sites=sites, positions=["last"])
    found = capture(model, CHATS, sites=sites, positions=["last"])
    for site in sites:
        assert torch.equal(found.states(site), expected.states(site))
    assert all(weight.device.type == "meta" for weight in model.structure.block(1).module.parameters())


def test_progress_ends_at_the_total(llama):
    seen = []
    capture(llama, CHATS, positions=["last"], batch_size=2, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(2, 5), (4, 5), (5, 5)]


def test_shards_hold_what_memory_holds(llama, tmp_path):
    sites = [Site(0, "resid_pre"), Site(1, "attn_heads"), Site(2, "resid_post")]
    options = {"sites": sites, "positions": ["last_instruction", "post_instruction:0", 3], "batch_size": 2}
    held = capture(llama, CHATS, **options)
    streamed = capture(llama, CHATS, out=tmp_path / "streamed", **options)
    held.save(tmp_path / "saved")
    for other in (streamed, Captured.load(tmp_path / "streamed", model=llama), Captured.load(tmp_path / "saved")):
        assert other.sites == held.sites
        assert other.positions == held.positions
        assert other.card == held.card
        assert torch.equal(other.tokens, held.tokens)
        for site in sites:
            assert torch.equal(other.states(site), held.states(site))
    names = sorted(path.name for path in (tmp_path / "streamed").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "saved").iterdir())
    for name in names:
        assert (tmp_path / "streamed" / name).read_bytes() == (tmp_path / "saved" / name).read_bytes()


def test_shards_are_plain_safetensors(llama, tmp_path):
    from safetensors.torch import load_file

    found = capture(llama, CHATS, positions=["last"], out=tmp_path / "s")
    index = json.loads((tmp_path / "s" / "index.json").read_text())
    for shard in index["shards"]:
        states = load_file(tmp_path / "s" / shard["file"])["states"]
        assert torch.equal(states, found.states((shard["layer"], shard["point"])))
    assert index["card"]["template_hash"] == llama.template_hash


def test_heads_lie_side_by_side(llama):
    found = capture(llama, CHATS, positions=["last"], sites=[(1, "attn_heads")])
    site = llama.structure.attention(1)
    assert found.heads(1).shape == (5, 1, site.heads, site.head_size)
    assert torch.equal(found.heads(-2).flatten(2), found.states((1, "attn_heads")))


def test_states_of_another_model_or_template_are_refused(llama, load, build, make_tokenizer, tmp_path):
    capture(llama, CHATS, positions=["last"], out=tmp_path / "s")
    Captured.load(tmp_path / "s", model=LocalModel(build("llama"), make_tokenizer(), name="moved"))
    half = LocalModel(build("llama").to(torch.bfloat16), make_tokenizer(), name="another number format")
    Captured.load(tmp_path / "s", model=half)
    with pytest.raises(ArtefactError, match="chat template differs"):
        Captured.load(tmp_path / "s", model=load("llama", "chatml"))
    with pytest.raises(ArtefactError, match="architecture differs"):
        Captured.load(tmp_path / "s", model=load("gpt2"))
    with pytest.raises(ArtefactError, match="weights differs"):
        Captured.load(tmp_path / "s", model=LocalModel(build("llama", seed=1), make_tokenizer(), name="other"))


def test_a_folder_that_was_not_finished_is_no_capture(llama, tmp_path):
    def stop(done, _total):
        if done >= 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        capture(llama, CHATS, positions=["last"], batch_size=2, out=tmp_path / "s", progress=stop)
    assert list((tmp_path / "s").iterdir()) == []
    with pytest.raises(ArtefactError, match="no finished capture"):
        Captured.load(tmp_path / "s")
    capture(llama, CHATS, positions=["last"], out=tmp_path / "s")
    with pytest.raises(InputError, match="holds a capture already"):
        capture(llama, CHATS, positions=["last"], out=tmp_path / "s")


def test_damaged_folders_are_named(llama, tmp_path):
    folder = tmp_path / "s"
    found = capture(llama, CHATS, positions=["last"], out=folder)
    shard = folder / "layer_001.resid_post.safetensors"
    shard.write_bytes(shard.read_bytes()[:-8])
    with pytest.raises(ArtefactError, match="layer_001"):
        found.states((1, "resid_post"))
    (folder / "index.json").write_text('{"format": 99}')
    with pytest.raises(ArtefactError, match="format 99"):
        Captured.load(folder)
    (folder / "index.json").write_text("{")
    with pytest.raises(ArtefactError, match="cannot be read"):
        Captured.load(folder)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"chats": []}, "at least one chat"),
        ({"chats": "Hi"}, "list of chats"),
        ({"chats": ["Hi", "why " * 300]}, r"chat 1 has \d+ tokens and the context of tiny-llama holds 256"),
        ({"chats": ["Hi", [{"role": "system", "content": "Be brief."}]]}, "chat 1: positions need a user message"),
        ({"positions": []}, "at least one name"),
        ({"positions": "last"}, "must be a list"),
        ({"positions": ["last_token"]}, "unknown position 'last_token'"),
        ({"positions": ["last", "last"]}, "named twice"),
        ({"positions": ["last_reasoning"]}, "no chat has the position 'last_reasoning'"),
        ({"positions": [500]}, "no chat has the position 500: the longest chat has"),
        ({"positions": ["post_instruction:40"]}, "no chat has the position 'post_instruction:40'"),
        ({"sites": []}, "at least one site"),
        ({"sites": [(0, "mlp")]}, "unknown point 'mlp'"),
        ({"sites": [(0, "resid_post"), (-3, "resid_post")]}, "named twice"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_bad_input_is_refused_before_anything_runs(llama, given, words):
    options = {"chats": ["Hi"], "positions": ["last_instruction"], "sites": None} | given
    with pytest.raises(InputError, match=words):
        capture(llama, options.pop("chats"), **options)


def test_a_layer_that_is_not_there_is_named(llama):
    with pytest.raises(ModelError, match="no layer 3"):
        capture(llama, ["Hi"], positions=["last"], sites=[(3, "resid_post")])


def test_a_template_without_tokens_after_the_instruction_is_named(build, make_tokenizer):
    model = LocalModel(build("llama"), make_tokenizer(BARE), name="bare")
    for position in ("post_instruction:0", "post_instruction:*"):
        with pytest.raises(InputError, match="puts no tokens between the instruction and the assistant's words"):
            capture(model, ["Hi"], positions=[position])
    found = capture(model, ["Hi", "Why is the sky blue?"], positions=["last", "last_instruction"])
    assert torch.equal(found.tokens[:, 0], found.tokens[:, 1])


def test_states_that_are_no_numbers_are_named(build, make_tokenizer):
    model = LocalModel(build("llama"), make_tokenizer(), name="broken")
    with torch.no_grad():
        model.structure.block(1).mlp.down_proj.weight[:, 0] = torch.nan
    capture(model, ["Hi"], positions=["last"], sites=[(0, "resid_post")])
    with pytest.raises(ModelError, match=r"layer 1 resid_post is not finite .* for chat 0 at 'last'"):
        capture(model, ["Hi"], positions=["last"])


def test_a_model_in_training_mode_is_refused(build, make_tokenizer):
    model = LocalModel(build("llama").train(), make_tokenizer(), name="training")
    with pytest.raises(InputError, match="training mode"):
        capture(model, ["Hi"], positions=["last"])


def test_what_was_not_captured_is_named(llama):
    found = capture(llama, ["Hi"], positions=["last"], sites=[(0, "resid_post")])
    with pytest.raises(InputError, match="layer 1 resid_post was not captured; there are: layer 0 resid_post"):
        found.states((1, "resid_post"))
    with pytest.raises(InputError, match="'first_answer' was not captured"):
        found.mask("first_answer")
    assert "tiny-llama" in found._repr_html_()


def test_the_package_does_not_hide_its_function_behind_a_module():
    import demur.states.capturing
    import demur.states.shards

    assert callable(demur.states.capture)
    assert "capture" in dir(demur.states)
