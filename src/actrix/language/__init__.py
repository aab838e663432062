"""Language: tokens, models, the sampler, tasks and their evaluation. Names load on first use."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_WHERE = {
    "ByteTokenizer": "tokens",
    "HuggingFaceTokenizer": "tokens",
    "TaskTokenizer": "tokens",
    "Tokenizer": "tokens",
    "WordTokenizer": "tokens",
    "HuggingFaceModel": "model",
    "LanguageModel": "model",
    "TransformerModel": "model",
    "from_hugging_face": "convert",
    "make_model": "convert",
    "Samples": "sampler",
    "Sampling": "sampler",
    "generate": "sampler",
    "Message": "traces",
    "Trace": "traces",
    "program_of": "programs",
    "make_task": "tasks",
    "evaluate_task": "evaluate",
}
__all__ = list(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(name)
    return getattr(import_module(f"actrix.language.{_WHERE[name]}"), name)
