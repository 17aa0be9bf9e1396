"""One llama_batch over numpy arrays that live as long as the context."""

from __future__ import annotations

from typing import Any

import numpy as np

from server.engine import bindings
from server.engine.layout import Offsets, Rows
from server.engine.vocabulary import Tokens


class Batch:
    """Filled anew for each step: `clear`, then rows with `add_token` and `add_run`, then decode."""

    def __init__(self, capacity: int, sequences: int) -> None:
        api = bindings.llama()
        self.capacity = capacity
        self._size = 0
        self._tokens = np.zeros(capacity, np.int32)
        self._positions = np.zeros(capacity, np.int32)
        self._sequence_counts = np.ones(capacity, np.int32)
        self._sequence_ids = np.arange(sequences, dtype=np.int32)
        self._sequence_pointers = np.zeros(capacity, np.uint64)
        self._wanted = np.zeros(capacity, np.int8)
        self._first_pointer = self._sequence_ids.ctypes.data
        self._ramp = np.arange(capacity, dtype=np.int32)
        self.struct: Any = api.llama_batch()
        fields = {name: kind for name, kind in self.struct._fields_}
        for name, array in (
            ("token", self._tokens),
            ("pos", self._positions),
            ("n_seq_id", self._sequence_counts),
            ("seq_id", self._sequence_pointers),
            ("logits", self._wanted),
        ):
            setattr(self.struct, name, array.ctypes.data_as(fields[name]))

    def clear(self) -> None:
        self._size = 0

    def add_token(self, sequence: int, token: int, position: int) -> None:
        """One row whose logits are wanted."""
        at = self._size
        self._tokens[at] = token
        self._positions[at] = position
        self._sequence_pointers[at] = self._first_pointer + 4 * sequence
        self._wanted[at] = 1
        self._size = at + 1

    def add_run(self, sequence: int, tokens: Tokens, position: int, *, wants_output: bool) -> None:
        """Consecutive rows; the logits of the last one are wanted or none."""
        start, end = self._size, self._size + len(tokens)
        self._tokens[start:end] = tokens
        self._positions[start:end] = self._ramp[: len(tokens)]
        self._positions[start:end] += position
        self._sequence_pointers[start:end] = self._first_pointer + 4 * sequence
        self._wanted[start:end] = 0
        if wants_output:
            self._wanted[end - 1] = 1
        self._size = end

    def add_text(self, sequence: int, tokens: Tokens, position: int = 0) -> None:
        """Consecutive rows that are all pooled into one vector."""
        start = self._size
        self.add_run(sequence, tokens, position, wants_output=True)
        self._wanted[start : self._size] = 1

    def ready(self) -> Any:
        """The llama_batch of all rows so far."""
        self.struct.n_tokens = self._size
        return self.struct

    def __len__(self) -> int:
        return self._size


class RowBatch:
    """A llama_batch of embeddings of one sequence: what stands in the place of tokens where a prompt has an image."""

    def __init__(self, capacity: int) -> None:
        self._size = 0
        self._sequence = np.zeros(1, np.int32)
        self._sequence_counts = np.ones(capacity, np.int32)
        self._sequence_pointers = np.full(capacity, self._sequence.ctypes.data, np.uint64)
        self._wanted = np.zeros(capacity, np.int8)
        self.struct: Any = bindings.llama().llama_batch()
        self._fields = {name: kind for name, kind in self.struct._fields_}
        self._point("n_seq_id", self._sequence_counts)
        self._point("seq_id", self._sequence_pointers)
        self._point("logits", self._wanted)

    def fill(self, sequence: int, rows: Rows, places: Offsets, *, wants_output: bool) -> None:
        """`rows` is [count, width], `places` their positions, [sections, count]; the logits of the last are wanted or
        none."""
        self._size = len(rows)
        self._sequence[0] = sequence
        self._rows = np.ascontiguousarray(rows)  # both live until they are evaluated
        self._places = np.ascontiguousarray(places, np.int32)
        self._wanted[: self._size] = 0
        self._wanted[self._size - 1] = int(wants_output)
        self._point("embd", self._rows)
        self._point("pos", self._places)

    def _point(self, name: str, array: np.ndarray[Any, Any]) -> None:
        setattr(self.struct, name, array.ctypes.data_as(self._fields[name]))

    def ready(self) -> Any:
        """The llama_batch."""
        self.struct.n_tokens = self._size
        return self.struct

    def __len__(self) -> int:
        return self._size
