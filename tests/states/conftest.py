"""The tiny models of the tests of `models`, for the tests of capture."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="reading states needs the extra `local`")
pytest.importorskip("transformers", reason="reading states needs the extra `local`")

_spec = importlib.util.spec_from_file_location("tiny_models", Path(__file__).parents[1] / "models" / "conftest.py")
_tiny = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_tiny)

_one_thread = _tiny._one_thread
backend = _tiny.backend
make_tokenizer = _tiny.make_tokenizer
build = _tiny.build
load = _tiny.load
any_model = _tiny.any_model
llama = _tiny.llama
