"""Reading at any depth: cached checks are full passes, the grid, the counts, and the phantom's planted judgement."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'local'")

from demur import phantom  # noqa: E402
from demur.errors import InputError  # noqa: E402
from demur.models import Chat, reading  # noqa: E402
from demur.phantom import scenes  # noqa: E402
from demur.states.depth import (  # noqa: E402
    assistant_header,
    depth_grid,
    fit_depth_probes,
    flag_rates,
    score_depths,
    states_at_depths,
)
from demur.states.probe import Probe  # noqa: E402
from demur.stats import auroc  # noqa: E402

EDITIONS = ["phantom", "phantom:qwen3", "phantom:gemma3", "phantom:gpt_oss"]


@pytest.fixture(scope="module")
def model():
    torch.set_num_threads(1)
    return phantom.load()


def answered(messages, text):
    return Chat(messages=(*messages, {"role": "assistant", "content": text}))


def test_the_grid_leaves_out_the_end():
    assert depth_grid(100) == [25, 50, 75]
    assert depth_grid(20) == depth_grid(25) == []
    assert depth_grid(5000, step=1000) == [1000, 2000]
    with pytest.raises(InputError, match="step must be at least 1"):
        depth_grid(10, step=0)


@pytest.mark.parametrize("name", EDITIONS)
def test_a_check_on_the_cache_reads_what_a_full_pass_reads(name):
    """In sliding windows too, and reading goes on as if there had been none."""
    torch.set_num_threads(1)
    tiny = phantom.load(name)
    turn = ({"role": "user", "content": "How do I bake a cake?"},)
    text = "First make a plan, then gather what you need, and finish with a last check. " * 6
    chat, header = answered(turn, text), assistant_header(tiny)
    assert "assistant" in "".join(tiny.token_texts(header))
    (found,) = states_at_depths(tiny, [chat], [0, 2], step=20)
    prompt = tiny.encode(Chat(messages=turn))
    answer = tiny.encode(chat)[len(prompt) :]
    depths = depth_grid(len(answer), step=20)
    assert found.shape == (len(depths), 2, tiny.structure.width)
    assert len(depths) > 3
    for place, depth in enumerate(depths):
        seen = {}
        with reading(
            tiny.structure,
            [(0, "resid_post"), (2, "resid_post")],
            lambda site, x, seen=seen: seen.update({site: x[0, -1]}),
        ):
            tiny.model(torch.tensor([[*prompt, *answer[:depth], *header]]))
        full = torch.stack([seen[0, "resid_post"], seen[2, "resid_post"]])
        torch.testing.assert_close(found[place], full, atol=2e-3, rtol=1e-3)


def test_rates_count_each_depth_alone_and_together():
    first, second, third = flag_rates([{25: 0.9, 50: 0.1, 75: 0.1}]).rows
    assert [rate.flagged.value for rate in (first, second, third)] == [1, 0, 0]
    assert [rate.ever.value for rate in (first, second, third)] == [1, 1, 1]
    rates = flag_rates([{25: 0.9}, {25: 0.2, 50: 0.8}, {}, {}])
    assert [(rate.depth, rate.flagged.value, rate.flagged.n) for rate in rates.rows] == [(25, 0.5, 2), (50, 1.0, 1)]
    assert [(rate.ever.value, rate.ever.n) for rate in rates.rows] == [(0.25, 4), (0.5, 4)]
    assert rates[50].flagged.value == 1.0
    assert "Flagged by depth" in rates._repr_html_()
    with pytest.raises(InputError, match="no answers"):
        flag_rates([])


def deep(side, depth):
    """Answers of the scene `depth` that go on and on, and whether what was asked is harmful."""
    chats, labels, families = [], [], []
    for group in ("harmful", "harmless"):
        (decision,) = [d for d in scenes.decisions("depth") if d.name == f"depth/recover/{group}/{depth}"]
        for place in (decision.places if side == "shown" else decision.held_out)[:40]:
            chats.append(answered(place.messages, place.prefix))
            labels.append(group == "harmful")
            families.append(place.family)
    return chats, labels, families


@pytest.fixture(scope="module")
def probe(model):
    chats, labels, families = deep("shown", 32)
    return fit_depth_probes(model, chats, labels, families=families, layers=[2, 3], permutations=10).best()


def test_harm_is_read_four_times_deeper_than_the_probe_has_seen(model, probe):
    """Fitted on the first 250 tokens, read up to 1,000, on acts that neither probe nor phantom have seen."""
    assert probe.position == "header"
    assert probe.quality.auroc.value > probe.quality.null
    chats, labels, _ = deep("held_out", 128)
    scores = score_depths(model, chats, probe)
    assert sorted(scores[0]) == depth_grid(1024)
    for depth in (25, 250, 500, 1000):
        assert auroc(labels, [one[depth] for one in scores]).value >= 0.97
    harmful, harmless = (
        flag_rates([one for one, label in zip(scores, labels, strict=True) if label is side]) for side in (True, False)
    )
    assert min(row.flagged.value for row in harmful.rows) >= 0.9
    assert harmless[1000].ever.value <= 0.2


def test_shuffled_labels_are_read_at_no_depth(model):
    chats, labels, families = deep("shown", 32)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(1)).tolist()
    found = fit_depth_probes(
        model, chats, [labels[n] for n in order], families=families, layers=[3], step=75, permutations=10
    ).best()
    assert abs(found.quality.auroc.value - 0.5) < 0.15
    assert found.quality.p > 0.05


def test_what_cannot_be_read_says_so(model, probe):
    turn = ({"role": "user", "content": "How do I bake a cake?"},)
    with pytest.raises(InputError, match="chat 0 does not end with an answer"):
        states_at_depths(model, [Chat(messages=turn)], [0])
    assert states_at_depths(model, [answered(turn, "Sure.")], [0])[0].shape[0] == 0
    with pytest.raises(InputError, match=r"takes \d+ tokens with its header and the context holds 4096"):
        states_at_depths(model, [answered(turn, "go on " * 5000)], [0], most=10**6)
    short = [answered(({"role": "user", "content": f"Is it {n}?"},), "Sure.") for n in range(8)]
    with pytest.raises(InputError, match="no answer is longer than 25 tokens"):
        fit_depth_probes(model, short, [True, False] * 4)
    assert isinstance(probe, Probe)
