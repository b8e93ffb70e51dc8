"""Every decoder family that transformers ships and that builds small: read, or refused with the reason."""

from __future__ import annotations

import inspect
import sys
from functools import partial

import pytest
import torch

from demur.errors import ModelError
from demur.models import LocalModel, Sampling, Steering, reading, writing
from demur.models.operators import add

pytestmark = pytest.mark.slow

# Encoders with a language-modelling head, decoders of speech, images or translation, and models without chat use.
NOT_DECODERS = (
    *("Bert", "Electra", "Ernie", "Roberta", "Camembert", "Data2Vec", "RoFormer", "BigBird", "RemBert", "RoCBert"),
    *("Xmod", "XLM", "XLNet", "Reformer", "ProphetNet", "Bart", "MBart", "PLBart", "Pegasus", "Blenderbot", "Marian"),
    *("Mvp", "TrOCR", "Whisper", "Musicgen", "Moshi", "Git", "OpenAIGPT", "CTRL", "MegatronBert"),
)

SHARED = {
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "n_embd": 32,
    "n_layer": 4,
    "n_head": 4,
    "n_layers": 4,
    "n_heads": 4,
    "d_model": 32,
    "ffn_dim": 48,
    "rotary_dim": 4,
    "max_position_embeddings": 128,
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "n_group": 1,
    "topk_group": 1,
    "kv_lora_rank": 8,
    "q_lora_rank": 8,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 8,
    "v_head_dim": 8,
    "index_n_heads": 2,
    "index_head_dim": 16,
    "vocab_size_per_layer_input": 512,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "pad_token_id": 7,
}


class NotSmallError(Exception):
    """A family that cannot be built or run at this size; no finding about our code."""


def build_small(config_class, model_class, size):
    known = {
        *inspect.signature(config_class.__init__).parameters,
        *getattr(config_class, "__dataclass_fields__", {}),
        *getattr(config_class, "attribute_map", {}),
    }
    given = {name: value for name, value in SHARED.items() if name in known} | {"vocab_size": size}
    if "kv_lora_rank" in known:
        given["num_key_value_heads"] = 4  # latent attention has a key of its own for each head
    elif "head_dim" in known:
        given["head_dim"] = 8
    torch.manual_seed(0)
    try:
        config = config_class(**given)
        text = config.get_text_config(decoder=True)
        if text.hidden_size > 64 or text.num_hidden_layers > 4:
            raise NotSmallError("its sizes have other names")
        model = model_class(config).eval()
        if model.num_parameters() > 2e7:
            raise NotSmallError("some of its parts keep their size")
        with torch.no_grad():
            for weight in model.parameters():
                if weight.ndim >= 2:
                    weight.mul_(3.0)
            if not torch.isfinite(model(input_ids=torch.tensor([[0, 5, 9]])).logits).all():
                raise NotSmallError("its logits are not finite")
    except NotSmallError:
        raise
    except Exception as error:
        raise NotSmallError(f"{type(error).__name__}: {error}".splitlines()[0]) from error
    return model


CHATS = ["Hi", "Why is the sky blue?", "Tell me how to kill a process."]
SETTINGS = [Sampling(max_tokens=5, temperature=t, seed=1) for t in (0.0, 1.0, 1.0)]


def same_alone_and_together(model, controls=()):
    together = [g.token_ids for g in model.generate(CHATS, sampling=SETTINGS, controls=controls)]
    alone = [
        model.generate([c], sampling=s, controls=controls)[0].token_ids for c, s in zip(CHATS, SETTINGS, strict=True)
    ]
    return together == alone


def check_hooks(model):
    """The facts about one family's hooks; returns what does not hold."""
    structure, network, failed = model.structure, model.model, []
    ids = torch.tensor([model.encode("Why is the sky blue?")])
    vector = torch.randn(structure.width, generator=torch.Generator().manual_seed(0))
    seen = {}
    sites = [(0, "resid_post"), (1, "resid_pre")]
    with torch.no_grad():
        before = network(input_ids=ids).logits
        with (
            writing(structure, {(0, "resid_post"): partial(add, vector=vector)}),
            reading(structure, sites, lambda site, activation: seen.update({site: activation.clone()})),
        ):
            during = network(input_ids=ids).logits
        after = network(input_ids=ids).logits
    if not torch.equal(seen[0, "resid_post"], seen[1, "resid_pre"]):
        failed.append("what leaves a block does not enter the next")
    if torch.allclose(before, during, atol=1e-4):
        failed.append("a write changes nothing")
    if not torch.equal(before, after):
        failed.append("hooks leave a trace")
    if not same_alone_and_together(model, [Steering(vector, (1, "resid_post"))]):
        failed.append("steering depends on the batch")
    return failed


@pytest.mark.filterwarnings("ignore::Warning")  # of the families' own code
def test_every_family_is_read_or_refused(make_tokenizer, backend, capsys):
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    read, refused, left_out, failed = [], {}, {}, {}
    for config_class, listed in sorted(MODEL_FOR_CAUSAL_LM_MAPPING.items(), key=lambda pair: pair[0].__name__):
        name = config_class.__name__.removesuffix("Config")
        if name.startswith(NOT_DECODERS):
            continue
        try:
            network = build_small(
                config_class, listed[0] if isinstance(listed, tuple) else listed, backend.get_vocab_size()
            )
        except NotSmallError as error:
            left_out[name] = str(error)
            continue
        model = LocalModel(network, make_tokenizer(), name=name)
        try:
            problems = [] if same_alone_and_together(model) else ["a response depends on its batch"]
        except Exception as error:  # noqa: BLE001 - one family must not hide the others
            problems = [f"generation fails: {type(error).__name__}: {error}"]
        try:
            problems += check_hooks(model)
            read.append(name)
        except ModelError as error:
            refused[name] = str(error)
        except Exception as error:  # noqa: BLE001
            problems.append(f"hooks fail: {type(error).__name__}: {error}")
        if problems:
            failed[name] = problems
    with capsys.disabled():
        for title, found in (("read", dict.fromkeys(read, "")), ("refused", refused), ("left out", left_out)):
            sys.stdout.write(f"\n{title} ({len(found)})\n")
            sys.stdout.writelines(f"  {name} {why[:150]}\n" for name, why in found.items())
    assert not failed
    assert len(read) > 70
