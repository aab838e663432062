"""Models by name, and Hugging Face weights in the library's own transformer."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor

from actrix.errors import ActrixError, unknown
from actrix.language.model import HuggingFaceModel, LanguageModel, TransformerModel
from actrix.language.table import TabularModel
from actrix.nets.transformer import Block, TransformerConfig

# Shapes without a vocabulary and a context, which come from the task.
PRESETS: dict[str, dict[str, Any]] = {
    "micro": {"layers": 2, "width": 64, "heads": 2},  # 0.1 M parameters
    "mini": {"layers": 3, "width": 96, "heads": 4},  # 0.3 M parameters
    "tiny": {"layers": 5, "width": 128, "heads": 4},  # 1.0 M parameters
    "small": {"layers": 4, "width": 192, "heads": 4, "mlp": 448},  # 1.6 M
    "medium": {"layers": 6, "width": 384, "heads": 6},  # 11 M
}


def pretrained(name: str) -> tuple[str, int | None]:
    """(folder or name on the hub, rank of adapters) of `hf:PATH` and `lora8:PATH`; no path where it is neither."""
    found = re.fullmatch(r"(?:hf|lora(\d+)):(.+)", name)
    return ("", None) if found is None else (found[2], None if found[1] is None else int(found[1]))


def make_model(name: str, vocab: int, context: int) -> LanguageModel:
    """A fresh model of a preset's shape; `table`, for games; or `hf:<folder or name>`, a pretrained one, and
    `lora8:<folder or name>`, the same where only adapters of rank 8 (say) are trained.

    Fresh weights come from torch's global generator.
    """
    path, rank = pretrained(name)
    if path:
        try:
            from transformers import AutoModelForCausalLM
        except ImportError:
            raise ActrixError("pretrained models need 'transformers'", "pip install 'actrix[language]'") from None
        try:
            found = AutoModelForCausalLM.from_pretrained(path)
        except (OSError, ValueError) as error:
            raise ActrixError(
                f"cannot load the model {path!r}: {error}", "give a folder, or a name on the hub"
            ) from None
        return HuggingFaceModel(found if rank is None else adapters(found, rank))
    if name == "table":
        return TabularModel(vocab, context)
    if name not in PRESETS:
        raise unknown("model", name, [*PRESETS, "table", "hf:<folder or name>", "lora8:<folder or name>"])
    return TransformerModel(shape(name, vocab, context))


def shape(preset: str, vocab: int, context: int) -> TransformerConfig:
    """The library's own transformer of a preset's size, also for critics."""
    if preset not in PRESETS:
        raise unknown("model", preset, PRESETS)
    return TransformerConfig(vocab=vocab, context=context, **PRESETS[preset])


def adapters(model: Any, rank: int) -> Any:
    """A `transformers` model with low-rank adapters of this rank on all its linear maps, and nothing else to train.

    Source: Hu et al. 2021, LoRA (2106.09685), through the package `peft`; alpha is twice the rank.
    """
    if rank < 1:
        raise ActrixError(f"the rank of adapters is at least 1, not {rank}", misuse=True)
    try:
        import peft
    except ImportError:
        raise ActrixError("adapters need the package 'peft'", "pip install 'actrix[language]'") from None
    config = peft.LoraConfig(
        r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    return peft.get_peft_model(model, config)


def from_hugging_face(model: Any) -> TransformerModel:
    """A copy of a Llama or Qwen2 causal model's weights as the library's transformer: the same function, sampled
    several times faster on a CPU. Refuses what our transformer does not compute."""
    config = model.config
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    head_dim = getattr(config, "head_dim", None)
    if config.model_type not in ("llama", "qwen2"):
        reason = "its architecture differs"
    elif config.hidden_act != "silu":
        reason = f"its activation is {config.hidden_act}"
    elif rope.get("rope_type", rope.get("type", "default")) != "default":
        reason = "its rotary positions are scaled"
    elif getattr(config, "use_sliding_window", False):
        reason = "it attends to a sliding window"
    elif (config.model_type == "llama" and config.attention_bias) or getattr(config, "mlp_bias", False):
        reason = "it has biases where ours has none"
    elif head_dim is not None and head_dim * config.num_attention_heads != config.hidden_size:
        reason = "its heads are wider than the width over their number"
    else:
        reason = ""
    if reason:
        raise ActrixError(
            f"cannot read this {config.model_type} model as a transformer of ours: {reason}",
            "use HuggingFaceModel(model), which works for every causal model",
        )
    ours = TransformerModel(
        TransformerConfig(
            vocab=config.vocab_size,
            layers=config.num_hidden_layers,
            width=config.hidden_size,
            heads=config.num_attention_heads,
            kv_heads=config.num_key_value_heads,
            mlp=config.intermediate_size,
            context=config.max_position_embeddings,
            rope_base=rope.get("rope_theta", getattr(config, "rope_theta", 10_000.0)),
            norm_eps=config.rms_norm_eps,
            qkv_bias=config.model_type == "qwen2",
            tied=config.tie_word_embeddings,
        )
    )
    net, theirs = ours.net, model.model
    with torch.no_grad():
        net.embedding.weight.copy_(theirs.embed_tokens.weight)
        net.norm.weight.copy_(theirs.norm.weight)
        if net.head is not None:
            net.head.weight.copy_(model.lm_head.weight)
        for block, layer in zip(net.blocks, theirs.layers):
            assert isinstance(block, Block)
            attention, mlp = layer.self_attn, layer.mlp
            projections = (attention.q_proj, attention.k_proj, attention.v_proj)
            block.norm_attention.weight.copy_(layer.input_layernorm.weight)
            block.norm_mlp.weight.copy_(layer.post_attention_layernorm.weight)
            block.attention.qkv.weight.copy_(_stack(p.weight for p in projections))
            if block.attention.qkv.bias is not None:
                block.attention.qkv.bias.copy_(_stack(p.bias for p in projections))
            block.attention.out.weight.copy_(attention.o_proj.weight)
            block.mlp.up.weight.copy_(_stack(p.weight for p in (mlp.gate_proj, mlp.up_proj)))
            block.mlp.down.weight.copy_(mlp.down_proj.weight)
    return ours.to(model.dtype)


def _stack(parts: Any) -> Tensor:
    return torch.cat(tuple(parts))
