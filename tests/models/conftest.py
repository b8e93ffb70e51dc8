"""Tiny random models of several families, with a tokenizer trained here; nothing comes from a hub."""

from __future__ import annotations

import logging

import pytest

torch = pytest.importorskip("torch", reason="local models need the extra `local`")
pytest.importorskip("transformers", reason="local models need the extra `local`")

TEXTS = [
    "How do I bake a cake without sugar?",
    "Tell me how to kill a process that hangs.",
    "I'm sorry, but I can't help with that.",
    "Here are the steps: first plan it, then do it, then rest.",
    "No. That would hurt people, and I will not explain it.",
    "The quick brown fox jumps over the lazy dog. 0123456789",
    "Why is the sky blue? Because light scatters in the air.",
] * 4

SPECIAL = ["<|begin|>", "<|end_of_text|>", "<|eot|>", "<|head|>", "<|/head|>", "<|im_start|>", "<|im_end|>", "<pad>"]
MARKUP = ["<think>", "</think>", "<|channel|>", "<|message|>"]

LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}<|head|>{{ m['role'] }}<|/head|>\n\n{{ m['content'] | trim }}<|eot|>"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|head|>assistant<|/head|>\n\n{% endif %}"
)
CHATML = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking %}<think>\n{% endif %}{% endif %}"
)
# Alternating turns only, one system message folded into the first user turn, everything stripped: the Llama 2 manner.
STRICT = (
    "{% if messages[0]['role'] == 'system' %}{% set sys = messages[0]['content'] | trim %}{% set rest = messages[1:] %}"
    "{% else %}{% set sys = '' %}{% set rest = messages %}{% endif %}"
    "{% for m in rest %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant') }}{% endif %}"
    "{% if m['role'] == 'user' %}{{ bos_token }}[INST] {% if loop.first and sys %}{{ sys }}\n\n{% endif %}"
    "{{ m['content'] | trim }} [/INST]{% else %} {{ m['content'] | trim }} {{ eos_token }}{% endif %}{% endfor %}"
)
TEMPLATES = {"llama3": LLAMA3, "chatml": CHATML, "strict": STRICT}


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    torch.set_num_threads(1)
    logging.getLogger("transformers").setLevel(logging.ERROR)


@pytest.fixture(scope="session")
def backend():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=480,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.add_tokens(MARKUP)
    return tokenizer


@pytest.fixture(scope="session")
def make_tokenizer(backend):
    from transformers import PreTrainedTokenizerFast

    def make(template="llama3", **options):
        given = {"bos_token": "<|begin|>", "eos_token": "<|eot|>", "pad_token": "<pad>"} | options
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **given)
        tokenizer.chat_template = TEMPLATES.get(template, template)
        return tokenizer

    return make


def _config(family, size):  # noqa: PLR0911 - one return a family
    import transformers as t

    shared = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": size}
    ids = {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 7}
    context = {"max_position_embeddings": 256}
    match family:
        case "llama":
            return t.LlamaConfig(**shared, **ids, **context, intermediate_size=48, num_key_value_heads=2)
        case "gpt2":
            return t.GPT2Config(n_embd=32, n_layer=3, n_head=4, n_positions=256, vocab_size=size, **ids)
        case "qwen3":
            return t.Qwen3Config(**shared, **ids, **context, intermediate_size=48, num_key_value_heads=2, head_dim=16)
        case "gemma3_text":
            return t.Gemma3TextConfig(
                **shared,
                **ids,
                **context,
                intermediate_size=48,
                num_key_value_heads=2,
                head_dim=8,
                sliding_window=16,
                layer_types=["sliding_attention", "sliding_attention", "full_attention"],
            )
        case "gpt_oss":
            return t.GptOssConfig(
                **shared,
                **ids,
                **context,
                intermediate_size=32,
                num_key_value_heads=2,
                head_dim=8,
                num_local_experts=4,
                num_experts_per_tok=2,
                sliding_window=16,
            )
        case "falcon":
            return t.FalconConfig(**shared, **ids, new_decoder_architecture=False, multi_query=True, alibi=False)
        case "bloom":
            return t.BloomConfig(hidden_size=32, n_layer=3, n_head=4, vocab_size=size, **ids)
        case "qwen3_next":
            return t.Qwen3NextConfig(
                **shared,
                **ids,
                **context,
                intermediate_size=48,
                num_key_value_heads=2,
                head_dim=16,
                linear_num_key_heads=2,
                linear_num_value_heads=4,
                linear_key_head_dim=8,
                linear_value_head_dim=8,
                num_experts=4,
                num_experts_per_tok=2,
                moe_intermediate_size=16,
                shared_expert_intermediate_size=16,
                layer_types=["linear_attention", "linear_attention", "full_attention"],
            )
    raise ValueError(family)


FAMILIES = ["llama", "gpt2", "qwen3", "gemma3_text", "gpt_oss", "falcon", "bloom"]


@pytest.fixture(scope="session")
def build(backend):
    """Builds a random model of a family; large weights, so that distributions are far from uniform."""
    from transformers import AutoModelForCausalLM

    def make(family, seed=0):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(_config(family, backend.get_vocab_size()), dtype=torch.float32)
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if weight.ndim >= 2:
                    weight.mul_(6.0 if "embed" in name or "wte" in name else 3.0)
                else:
                    weight.add_(torch.randn_like(weight) * 0.1)
        return model.eval()

    return make


@pytest.fixture(scope="session")
def load(build, make_tokenizer):
    """One LocalModel per family and template, shared by the tests; tests must leave it as they found it."""
    from demur.models import LocalModel

    kept = {}

    def make(family="llama", template="llama3"):
        if (family, template) not in kept:
            kept[family, template] = LocalModel(build(family), make_tokenizer(template), name=f"tiny-{family}")
        return kept[family, template]

    return make


@pytest.fixture(params=FAMILIES)
def any_model(request, load):
    return load(request.param)


@pytest.fixture
def llama(load):
    return load("llama")
