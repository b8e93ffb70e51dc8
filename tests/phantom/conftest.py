"""The shipped edition, loaded once."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def edition():
    """The checkpoint directory."""
    from demur.phantom import path

    return path()


@pytest.fixture(scope="session")
def tokenizer(edition):
    transformers = pytest.importorskip("transformers", reason="needs the extra 'local'")
    return transformers.AutoTokenizer.from_pretrained(edition)


@pytest.fixture(scope="session")
def model(edition):
    torch = pytest.importorskip("torch", reason="needs the extra 'local'")
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(1)
    return AutoModelForCausalLM.from_pretrained(edition, dtype=torch.float32).eval()
