"""One conversion, from a folder to a GGUF file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from server.convert.config import Config
from server.convert.families import outline_of
from server.convert.folder import Folder
from server.convert.gguf_file import GgufFile, HashedFile
from server.convert.plan import Key, Outline, count
from server.convert.pooling import MEAN, read_pooling
from server.convert.special import read_special_tokens
from server.convert.tokenizers import read_vocabulary
from server.convert.vocabulary import SpecialTokens, Vocabulary
from server.convert.weights import find_weights
from server.messages.conversion import Converted, ConvertOrder

# Makes vectors of texts and nothing else, so it must say how.
_ENCODERS = ("bert", "nomic-bert")
# In a model of this name llama.cpp leaves out white space behind special tokens, and wants to find these.
_STRIPPING_NAME = "Phi-3"
_STRIPPING_TOKENS = frozenset({"<unk>", "<s>", "</s>", "<|endoftext|>"})


def convert(order: ConvertOrder, report: Callable[[int, int], None]) -> Converted:
    """Everything is looked at before the first byte is written. Raises InvalidRequest, OSError."""
    folder = Folder(order.files)
    values = folder.json("config.json")
    config = Config(values)
    outline = outline_of(config)
    weights, size = find_weights(outline, config, folder.tensors(), order.output_type)
    vocabulary = read_vocabulary(folder, size)
    special = read_special_tokens(folder, values, vocabulary)
    file = GgufFile(outline.architecture, _name(outline, folder, vocabulary))
    file.add_keys((*outline.keys, *_further_keys(outline, folder, size)))
    file.add_vocabulary(vocabulary, special)
    with HashedFile(Path(order.output_path)) as output:
        file.write(weights, output, report)
        output.sync()
        return Converted(digest=output.digest, size=output.size, notes=outline.notes + _missing(outline, special))


def _further_keys(outline: Outline, folder: Folder, size: int) -> list[Key]:
    pooling = read_pooling(folder)
    if pooling is None and outline.architecture in _ENCODERS:
        pooling = MEAN  # as sentence-transformers does for a model that it knows nothing of
    keys = [] if pooling is None else [count(".pooling_type", pooling)]
    return [*keys, count(".vocab_size", size)]


def _name(outline: Outline, folder: Folder, vocabulary: Vocabulary) -> str:
    """The model's title."""
    if outline.architecture != "phi3":
        return outline.architecture
    entries = folder.json_if_there("tokenizer.json").get("added_tokens") or []
    strips = any(isinstance(entry, dict) and entry.get("rstrip") for entry in entries)
    has_tokens = {token.text for token in vocabulary.tokens} >= _STRIPPING_TOKENS
    return _STRIPPING_NAME if strips and has_tokens else "Phi"


def _missing(outline: Outline, special: SpecialTokens) -> tuple[str, ...]:
    if outline.architecture in _ENCODERS or special.chat_template:
        return ()
    return ("the folder has no chat template; without a TEMPLATE the model continues texts",)
