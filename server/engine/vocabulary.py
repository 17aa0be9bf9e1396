"""Text to tokens and back, as the model file's vocabulary has it. Safe to call from any thread."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Sequence
from itertools import pairwise, repeat

import numpy as np
import numpy.typing as npt

from server.engine import bindings
from server.errors import InvalidRequest
from server.messages.frames import FillTokens

Tokens = npt.NDArray[np.int32]
_SPECIAL = 1 << 0 | 1 << 3  # LLAMA_TOKEN_ATTR_UNKNOWN, LLAMA_TOKEN_ATTR_CONTROL


class Vocabulary:
    """The pieces are made when a token is first seen: a table of all would cost a tenth of a second for most models."""

    def __init__(self, model: int) -> None:
        self._api = bindings.llama()
        self._handle = self._api.llama_model_get_vocab(model)
        self.size: int = self._api.llama_vocab_n_tokens(self._handle)
        self.add_bos: bool = self._api.llama_vocab_get_add_bos(self._handle)
        self.bos: int = self._api.llama_vocab_bos(self._handle)
        self.eos: int = self._api.llama_vocab_eos(self._handle)
        self.sep: int = self._api.llama_vocab_sep(self._handle)
        self.add_eos: bool = self._api.llama_vocab_get_add_eos(self._handle)
        self.add_sep: bool = self._api.llama_vocab_get_add_sep(self._handle)
        is_eog, handle = self._api.llama_vocab_is_eog, self._handle
        self.end_tokens = frozenset(token for token in range(self.size) if is_eog(handle, token))
        self.suppressed = self._read_suppressed()
        self._pieces: list[bytes | None] = [None] * self.size
        self._special_pieces: dict[int, bytes] = {}

    def _read_suppressed(self) -> Tokens:
        """Tokens that the model file forbids."""
        count = ctypes.c_int32(0)
        pointer = self._api.llama_vocab_get_suppress_tokens(self._handle, ctypes.byref(count))
        if not pointer or count.value <= 0:
            return np.empty(0, np.int32)
        return np.array(pointer[: count.value], np.int32)

    @property
    def handle(self) -> int:
        """The llama_vocab pointer."""
        return int(self._handle)

    def text_of(self, token: int) -> str:
        """The token's own text in the vocabulary, such as <|end|>; "" for a token that does not exist."""
        if not 0 <= token < self.size:
            return ""
        return (self._api.llama_vocab_get_text(self._handle, token) or b"").decode(errors="replace")

    def control_texts(self) -> tuple[str, ...]:
        """The texts of the tokens that `tokenize` finds only where it may parse special ones."""
        attributes = map(self._api.llama_vocab_get_attr, repeat(self._handle), range(self.size))
        tokens = (token for token, attribute in enumerate(attributes) if attribute & _SPECIAL)
        return tuple(filter(None, map(self.text_of, tokens)))

    def fill_tokens(self) -> FillTokens:
        """Those of the model file, or those that llama.cpp knows by their texts."""
        api, handle = self._api, self._handle
        return FillTokens(
            before=api.llama_vocab_fim_pre(handle),
            behind=api.llama_vocab_fim_suf(handle),
            middle=api.llama_vocab_fim_mid(handle),
            repository=api.llama_vocab_fim_rep(handle),
            separator=api.llama_vocab_fim_sep(handle),
        )

    def piece(self, token: int) -> bytes:
        """What a token adds to an answer; nothing for control tokens."""
        found = self._pieces[token]
        if found is None:
            found = self._pieces[token] = self._to_piece(token, special=False)
        return found

    def special_piece(self, token: int) -> bytes:
        """The same with the text of control tokens."""
        found = self._special_pieces.get(token)
        if found is None:
            found = self._special_pieces[token] = self._to_piece(token, special=True)
        return found

    def _to_piece(self, token: int, *, special: bool) -> bytes:
        size = 64
        while True:
            buffer = ctypes.create_string_buffer(size)
            length = self._api.llama_token_to_piece(self._handle, token, buffer, size, 0, special)
            if length >= 0:
                return buffer.raw[:length]
            size = -length  # what it needs

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool = True) -> Tokens:
        """Token ids. With `add_special` one BOS where the vocabulary wants one, also if the text brings its own."""
        data = text.encode("utf-8", errors="replace")
        capacity = len(data) + 8  # never more tokens than bytes, and a few special ones
        found = np.empty(capacity, np.int32)
        pointer = found.ctypes.data_as(self._api.llama_token_p)
        arguments = (self._handle, data, len(data), pointer)
        count = self._api.llama_tokenize(*arguments, capacity, add_special, parse_special)
        if count < 0:
            raise InvalidRequest("The text is too long to be split into tokens.")
        start = 1 if add_special and self.add_bos and count > 1 and found[0] == found[1] == self.bos else 0
        return found[start:count].copy()

    def tokenize_cut(self, text: str, cuts: Sequence[int], *, add_special: bool) -> Tokens:
        """The same, special tokens parsed, of a text that no token reaches across at `cuts`, rising places in it."""
        if not cuts:
            return self.tokenize(text, add_special=add_special)
        first, *others = (text[start:end] for start, end in pairwise((0, *cuts, len(text))))
        pieces = [self.tokenize(first, add_special=add_special), *map(self._tokenize_behind, others)]
        return np.concatenate(pieces)

    def _tokenize_behind(self, text: str) -> Tokens:
        """The tokens of a text that stands behind another: some vocabularies put a space in front of a whole one."""
        line = self.tokenize("\n", add_special=False)
        found = self.tokenize("\n" + text, add_special=False)
        if np.array_equal(found[: len(line)], line):
            return found[len(line) :]
        return self.tokenize(text, add_special=False)

    def detokenize(self, tokens: Iterable[int]) -> str:
        """The text of all tokens, control tokens included. Raises InvalidRequest for a token that does not exist."""
        return b"".join(self.special_piece(token) for token in self.checked(tokens)).decode(errors="replace")

    def checked(self, tokens: Iterable[int]) -> Sequence[int]:
        """The same tokens. llama.cpp would end the process over one that is out of range."""
        listed = list(tokens)
        for token in listed:
            if not 0 <= token < self.size:
                raise InvalidRequest(f"There is no token {token}; this model has tokens 0 to {self.size - 1}.")
        return listed

    def visible_pieces(self, texts: Iterable[str]) -> dict[int, bytes]:
        """Special tokens whose text a stream wants to see; texts that are no single token are ordinary text anyway."""
        found = {}
        for text in texts:
            tokens = self.tokenize(text, add_special=False)
            if len(tokens) == 1:
                found[int(tokens[0])] = self.special_piece(int(tokens[0]))
        return found
