"""A tiny model of each family with random weights, made by transformers, and what transformers computes with it.

`python -m tests.convert.make_families FOLDER` makes FOLDER/NAME/model (as save_pretrained writes it) and
FOLDER/NAME/expected.npz: "ids", the texts' tokens, and "values", logits of every token (or the vector of each text).
Runs in a process of its own: transformers and torch take seconds to load, and print.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
import torch
import transformers
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from tests.convert.texts import ENCODERS, ENDS, TEXTS

CORPUS = ("The quick brown fox jumps over the lazy dog, again and again.", *TEXTS[:-1]) * 20
VOCABULARY, WIDTH, LAYERS, HEADS, KEY_HEADS, HEAD = 512, 128, 2, 4, 2, 32
CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
WORDS = r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
TEMPLATE = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{{ eos_token }}{% endfor %}"
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY, "hidden_size": WIDTH, "intermediate_size": 256, "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS, "num_key_value_heads": KEY_HEADS, "max_position_embeddings": 512,
    "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip


# ---- tokenizers ----------------------------------------------------------------------------------------------------


def pieces(folder: Path, *, prefix: bool, symbols: tuple[str, ...] = ()) -> None:
    """tokenizer.model, as sentencepiece trains it."""
    corpus = folder / "corpus.txt"
    corpus.write_text("\n".join(line for text in CORPUS for line in text.splitlines()), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(corpus), model_prefix=str(folder / "tokenizer"), vocab_size=450, model_type="bpe", byte_fallback=True,
        add_dummy_prefix=prefix, remove_extra_whitespaces=False, normalization_rule_name="identity",
        user_defined_symbols=list(symbols), minloglevel=2, pad_id=3 if not prefix else -1,
    )  # fmt: skip
    (folder / "tokenizer.vocab").unlink()
    corpus.unlink()


def llama_pieces(folder: Path, *, keep: bool, more: tuple[str, ...] = ()) -> None:
    """Sentencepiece's file and a tokenizer.json made of it; without `keep` the latter alone."""
    pieces(folder, prefix=True)
    settings = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>",
                "add_bos_token": True, "legacy": True, "chat_template": TEMPLATE}  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    if more:
        tokenizer.add_tokens([transformers.AddedToken(text, special=True, rstrip=True) for text in more])
    # As in the models on the hub; version 5 of transformers puts no space in front of one that is there.
    tokenizer.backend_tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    )
    tokenizer.backend_tokenizer.pre_tokenizer = None
    tokenizer.save_pretrained(folder)
    if not keep:
        (folder / "tokenizer.model").unlink()


def gemma_pieces(folder: Path) -> None:
    pieces(folder, prefix=False, symbols=("<start_of_turn>", "\u2581\u2581", "\u2581\u2581\u2581", "\n", "\n\n", "\t"))
    settings = {"tokenizer_class": "GemmaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>",
                "unk_token": "<unk>", "add_bos_token": True}  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.save_pretrained(folder)


def byte_level(folder: Path, *, digits: str, bos: bool, special: tuple[str, ...]) -> None:
    tokenizer = Tokenizer(models.BPE(ignore_merges=bos))
    tokenizer.normalizer = None if bos else normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(CONTRACTIONS + WORDS % digits), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])  # fmt: skip
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=480, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_special_tokens(list(special))
    level = processors.ByteLevel(trim_offsets=False)
    if bos:
        front = processors.TemplateProcessing(
            single=f"{special[0]} $A", special_tokens=[(special[0], tokenizer.token_to_id(special[0]))]
        )
        tokenizer.post_processor = processors.Sequence([level, front])
    else:
        tokenizer.post_processor = level
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=special[0] if bos else None, eos_token=special[1]
    )
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)


def word_pieces(folder: Path) -> None:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=400, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.decoder = decoders.WordPiece()
    transformers.BertTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]",
    ).save_pretrained(folder)  # fmt: skip


# ---- models --------------------------------------------------------------------------------------------------------


def randomized(model: Any, *, norms: float = 1.0) -> Any:
    """Weights that make every part of the model count; norms lie around `norms`."""
    generator = torch.Generator().manual_seed(7)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.ndim > 1:
            values = noise * (1.0 if "embed" in name else 1.5 / parameter.shape[1] ** 0.5)
        else:
            values = noise * 0.2 + (norms if name.endswith("weight") else 0.0)
        parameter.data = values.to(parameter.dtype)
    return model.eval()


def llama() -> Any:
    config = transformers.LlamaConfig(**SIZES, rope_theta=5000.0)
    return randomized(transformers.LlamaForCausalLM(config))


def llama3() -> Any:
    scaling = {"rope_type": "llama3", "rope_theta": 5000.0, "factor": 8.0, "low_freq_factor": 1.0,
               "high_freq_factor": 4.0, "original_max_position_embeddings": 64}  # fmt: skip
    config = transformers.LlamaConfig(
        **SIZES, rope_parameters=scaling,
        tie_word_embeddings=True, attention_bias=True, mlp_bias=True,
    )  # fmt: skip
    return randomized(transformers.LlamaForCausalLM(config))


def mistral() -> Any:
    config = transformers.MistralConfig(**SIZES, head_dim=64, sliding_window=None)
    return randomized(transformers.MistralForCausalLM(config))


def qwen2() -> Any:
    scaling = {"rope_type": "yarn", "rope_theta": 5000.0, "factor": 4.0, "original_max_position_embeddings": 64}
    config = transformers.Qwen2Config(**SIZES, rope_parameters=scaling)
    return randomized(transformers.Qwen2ForCausalLM(config)).to(torch.bfloat16)


def qwen3() -> Any:
    config = transformers.Qwen3Config(**SIZES, head_dim=64, tie_word_embeddings=True)
    return randomized(transformers.Qwen3ForCausalLM(config)).to(torch.float16)


def gemma2() -> Any:
    config = transformers.Gemma2Config(**SIZES, head_dim=HEAD, query_pre_attn_scalar=HEAD, sliding_window=16)
    return randomized(transformers.Gemma2ForCausalLM(config), norms=0.0)


def gemma3() -> Any:
    ropes = {"full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 100000.0},
             "sliding_attention": {"rope_type": "default", "rope_theta": 5000.0}}  # fmt: skip
    config = transformers.Gemma3TextConfig(
        **{**SIZES, "num_hidden_layers": 7}, head_dim=HEAD, query_pre_attn_scalar=HEAD, sliding_window=16,
        rope_parameters=ropes,
    )  # fmt: skip
    return randomized(transformers.Gemma3ForCausalLM(config), norms=0.0)


def phi3() -> Any:
    scaling = {"rope_type": "longrope", "rope_theta": 5000.0, "original_max_position_embeddings": 256,
               "long_factor": list(np.linspace(1.5, 9, HEAD // 2)),
               "short_factor": list(np.linspace(1, 2, HEAD // 2))}  # fmt: skip
    config = transformers.Phi3Config(
        **SIZES, rope_parameters=scaling, original_max_position_embeddings=256, sliding_window=None
    )
    return randomized(transformers.Phi3ForCausalLM(config))


def phi4() -> Any:
    scaling = {"rope_type": "default", "rope_theta": 5000.0, "partial_rotary_factor": 0.75}
    config = transformers.Phi3Config(**SIZES, rope_parameters=scaling, tie_word_embeddings=True, sliding_window=None)
    return randomized(transformers.Phi3ForCausalLM(config))


def bert() -> Any:
    sizes = {key: value for key, value in SIZES.items() if key != "num_key_value_heads"}
    return randomized(transformers.BertModel(transformers.BertConfig(**sizes)))


def nomic() -> Any:
    sizes = {key: value for key, value in SIZES.items() if key != "num_key_value_heads"}
    return randomized(transformers.NomicBertModel(transformers.NomicBertConfig(**sizes)))


MAKERS: dict[str, tuple[Callable[[], Any], Callable[[Path], None]]] = {
    "llama": (llama, lambda folder: llama_pieces(folder, keep=True)),
    "llama3": (
        llama3,
        lambda folder: byte_level(folder, digits="{1,3}", bos=True, special=("<|begin|>", *ENDS)),
    ),
    "mistral": (mistral, lambda folder: llama_pieces(folder, keep=False)),
    "qwen2": (qwen2, lambda folder: byte_level(folder, digits="", bos=False, special=("<|im_start|>", "<|im_end|>"))),
    "qwen3": (qwen3, lambda folder: byte_level(folder, digits="", bos=False, special=("<|im_start|>", "<|im_end|>"))),
    "gemma2": (gemma2, gemma_pieces),
    "gemma3": (gemma3, gemma_pieces),
    "phi3": (phi3, lambda folder: llama_pieces(folder, keep=True, more=("<|endoftext|>", "<|user|>", "<|end|>"))),
    "phi4": (
        phi4,
        lambda folder: byte_level(folder, digits="{1,3}", bos=False, special=("<|endoftext|>", "<|im_end|>")),
    ),
    "bert": (bert, word_pieces),
    "nomic": (nomic, word_pieces),
}


def make(name: str, folder: Path) -> None:
    build, tokenize = MAKERS[name]
    target = folder / name / "model"
    target.mkdir(parents=True)
    tokenize(target)
    model = build()
    model.save_pretrained(target, max_shard_size="200KB" if name == "mistral" else "50GB")
    tokenizer = Tokenizer.from_file(str(target / "tokenizer.json"))
    if name == "llama3":
        model.generation_config.eos_token_id = [tokenizer.token_to_id(end) for end in ENDS]
        model.generation_config.save_pretrained(target)
    # Weights as they were rounded, computed with in full; what is computed of positions was never rounded.
    model = type(model).from_pretrained(target, dtype=torch.float32)
    expected: dict[str, Any] = {}
    for number, text in enumerate(TEXTS):
        ids = tokenizer.encode(text).ids
        with torch.no_grad():
            output = model(torch.tensor([ids]))
        values = output.last_hidden_state[0].mean(0) if name in ENCODERS else output.logits[0]
        expected[f"ids{number}"] = np.array(ids, np.int32)
        expected[f"values{number}"] = values.numpy()
    np.savez(folder / name / "expected.npz", **expected)


def make_adapter(folder: Path) -> None:
    """A LoRA adapter for the Llama model as PEFT saves one, and the logits with its products added to the weights."""
    target = folder / "lora" / "adapter"
    target.mkdir(parents=True)
    model = transformers.LlamaForCausalLM.from_pretrained(folder / "llama" / "model", dtype=torch.float32)
    generator = torch.Generator().manual_seed(3)
    rank, alpha = 4, 6.0
    tensors: dict[str, Any] = {}
    for name, module in model.named_modules():
        if not name.endswith(("q_proj", "k_proj", "v_proj", "down_proj")):
            continue
        down = torch.randn((rank, module.in_features), generator=generator) * 0.1
        up = torch.randn((module.out_features, rank), generator=generator) * 0.1
        tensors[f"base_model.model.{name}.lora_A.weight"] = down
        tensors[f"base_model.model.{name}.lora_B.weight"] = up
        module.weight.data += alpha / rank * (up @ down)
    save_file(tensors, target / "adapter_model.safetensors")
    (target / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": rank, "lora_alpha": alpha}))
    ids = np.load(folder / "llama" / "expected.npz")["ids0"]
    with torch.no_grad():
        logits = model(torch.tensor(ids[None].astype(np.int64))).logits[0].numpy()
    np.savez(folder / "lora" / "expected.npz", ids0=ids, values0=logits)


def main() -> None:
    folder = Path(sys.argv[1])
    torch.set_num_threads(2)
    transformers.logging.set_verbosity_error()
    for name in sys.argv[2:] or MAKERS:
        shutil.rmtree(folder / name, ignore_errors=True)
        make(name, folder)
    shutil.rmtree(folder / "lora", ignore_errors=True)
    make_adapter(folder)


if __name__ == "__main__":
    main()
