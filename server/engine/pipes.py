"""The two ends of the conversation with the parent: a thread that reads commands, and a lock around the events.

Everything about tokens and text is answered on the reading thread, while the main thread decodes.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from queue import SimpleQueue

import msgspec
import numpy as np

from server.engine import lifeline
from server.engine.context import StepGuard
from server.engine.grammar import Compiled, Grammars
from server.engine.inputs import Inputs, PreparedInputs
from server.engine.layout import Layout
from server.engine.media import CANNOT_SEE, MediaDesk
from server.engine.pairs import Pairs
from server.engine.prompt import fit, refuse_oversized
from server.engine.vocabulary import Tokens, Vocabulary
from server.errors import InvalidRequest, PunaError, Unsupported
from server.messages.frames import (
    Cancel,
    Command,
    Detokenize,
    Embed,
    Event,
    Failed,
    FrameReader,
    LaunchPlan,
    Shutdown,
    Submit,
    Text,
    Tokenize,
    encode,
)
from server.messages.frames import Tokens as TokensEvent

READ_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Prepared:
    """A Submit whose prompt is tokenized and fits, after `cut_tokens` were left out."""

    submit: Submit
    prompt: Layout
    cut_tokens: int = 0
    grammar: Compiled | None = None


@dataclass(frozen=True, slots=True)
class Encoded:
    """Pieces of images or sounds are ready, or never will be."""


Order = LaunchPlan | Prepared | PreparedInputs | Encoded | Cancel | Shutdown


class EventPipe:
    """Frames to the parent, from any thread."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()

    def send(self, events: Iterable[Event]) -> None:
        """One frame. A parent that does not listen any more is the end."""
        data = memoryview(encode(events))
        with self._lock:
            try:
                while data:
                    data = data[os.write(self._descriptor, data) :]
            except OSError:
                lifeline.die()

    def fail(self, request: int, error: PunaError) -> None:
        self.send([Failed(id=request, kind=error.kind, message=str(error), log=error.log)])


@dataclass(frozen=True, slots=True)
class Desk:
    """What commands about prompts need of a loaded model. `inputs` is there where it makes vectors, `media` where it
    has a projector."""

    vocabulary: Vocabulary
    guard: StepGuard
    context_tokens: int
    may_shift: bool
    can_generate: bool
    inputs: Inputs | Pairs | None = None
    media: MediaDesk | None = None

    def prepare(self, submit: Submit) -> Prepared:
        """Raises InvalidRequest or ContextExceeded."""
        if not self.can_generate:
            raise Unsupported("This model does not generate text; it can only be used for embeddings.")
        vocabulary, options = self.vocabulary, submit.sampling
        if submit.media:
            layout = self._layout(submit)
            refuse_oversized(layout.tokens, self.context_tokens)  # an image cannot lose its middle
            return Prepared(submit, layout)
        if isinstance(submit.prompt, str):
            tokens = vocabulary.tokenize_cut(submit.prompt, submit.cuts, add_special=True)
        else:
            tokens = as_tokens(vocabulary, submit.prompt)
        if len(tokens) == 0:
            tokens = as_tokens(vocabulary, [self._first_token()])
        if submit.on_overflow == "refuse":
            return Prepared(submit, Layout(refuse_oversized(tokens, self.context_tokens)))
        shift = submit.shift and self.may_shift
        fitted = fit(tokens, self.context_tokens, num_keep=options.num_keep, add_bos=vocabulary.add_bos, shift=shift)
        return Prepared(submit, Layout(fitted), len(tokens) - len(fitted))

    def _layout(self, submit: Submit) -> Layout:
        if self.media is None or not isinstance(submit.prompt, str):
            raise Unsupported(CANNOT_SEE)
        layout = self.media.layout(submit.prompt, submit.cuts, submit.media)
        return layout if len(layout.tokens) else Layout(as_tokens(self.vocabulary, [self._first_token()]))

    def split(self, command: Tokenize) -> TokensEvent:
        """Raises InvalidRequest, Unsupported."""
        vocabulary, text = self.vocabulary, command.text
        media_tokens = 0
        if command.media:
            if self.media is None:
                raise Unsupported(CANNOT_SEE)
            layout = self.media.layout(text, command.cuts, command.media)
            tokens = layout.text()
            media_tokens = len(layout.tokens) - len(tokens)
        elif command.cuts:
            tokens = vocabulary.tokenize_cut(text, command.cuts, add_special=command.add_special)
        else:
            tokens = vocabulary.tokenize(text, add_special=command.add_special, parse_special=command.parse_special)
        found: tuple[int, ...] = tuple(tokens.tolist())
        pieces = tuple(map(vocabulary.special_piece, found)) if command.with_pieces else ()
        return TokensEvent(id=command.id, tokens=found, media_tokens=media_tokens, pieces=pieces)

    def prepare_inputs(self, command: Embed) -> PreparedInputs:
        """Raises InvalidRequest, ContextExceeded, Unsupported."""
        if self.inputs is None:
            raise Unsupported(
                "This model makes no vectors of whole texts: its file does not say how to pool those of its tokens. "
                "Please use an embedding model."
            )
        return self.inputs.prepare(command)

    def _first_token(self) -> int:
        """What an empty prompt begins with: logits need at least one token."""
        for token in (self.vocabulary.bos, self.vocabulary.eos):
            if token >= 0:
                return token
        raise InvalidRequest("The prompt is empty and the model has no token to begin with.")


def as_tokens(vocabulary: Vocabulary, tokens: Iterable[int]) -> Tokens:
    return np.array(vocabulary.checked(tokens), np.int32)


class CommandReader(threading.Thread):
    """Reads until the parent closes the pipe or dies, and then ends the process whatever the main thread does."""

    def __init__(self, descriptor: int, events: EventPipe) -> None:
        super().__init__(name="commands", daemon=True)
        self.orders: SimpleQueue[Order] = SimpleQueue()
        self._descriptor = descriptor
        self._events = events
        self._desk: Desk | None = None
        self._grammars: Grammars | None = None
        self._underway: set[int] = set()  # streams that wait for grammar or images, and were not cancelled meanwhile
        self._lock = threading.Lock()

    def open(self, desk: Desk) -> None:
        """The model is ready; before, only Shutdown and the end of the pipe have a meaning."""
        self._grammars = Grammars(desk.vocabulary)
        self._desk = desk

    def run(self) -> None:
        frames: FrameReader[Command] = FrameReader(Command)
        try:
            while data := os.read(self._descriptor, READ_BYTES):
                for command in frames.feed(data):
                    self._handle(command)
        except (OSError, ValueError, msgspec.MsgspecError):
            pass  # a pipe that broke or that speaks nonsense has no parent behind it
        lifeline.die()

    def _handle(self, command: Command) -> None:
        if isinstance(command, LaunchPlan | Shutdown):
            self.orders.put(command)
        elif isinstance(command, Cancel):
            with self._lock:
                self._underway.discard(command.id)
            self.orders.put(command)  # before the abort, so that the loop knows why when the decode returns
            if self._desk is not None:
                self._desk.guard.cancel(command.id)
        elif isinstance(command, Submit | Tokenize) and command.media:
            self._measure(command)
        else:
            self._attempt(command)

    def _measure(self, command: Submit | Tokenize) -> None:
        """Images and sounds are decoded beside everything else."""
        media = None if self._desk is None else self._desk.media
        if media is None:
            self._events.fail(command.id, Unsupported(CANNOT_SEE))
            return
        if isinstance(command, Submit):
            with self._lock:
                self._underway.add(command.id)
        media.do(lambda: self._attempt(command))

    def _attempt(self, command: Submit | Embed | Tokenize | Detokenize) -> None:
        try:
            self._answer(command)
        except PunaError as error:
            self._events.fail(command.id, error)
        except Exception as error:  # whatever a request does, the other streams go on
            self._events.fail(command.id, PunaError("The request could not be prepared.", log=repr(error)))

    def _answer(self, command: Submit | Embed | Tokenize | Detokenize) -> None:
        desk = self._desk
        if desk is None:
            raise InvalidRequest("The model is not loaded yet.")
        if isinstance(command, Submit):
            self._submit(desk.prepare(command))
        elif isinstance(command, Embed):
            self.orders.put(desk.prepare_inputs(command))
        elif isinstance(command, Tokenize):
            self._events.send([desk.split(command)])
        else:
            self._events.send([Text(id=command.id, text=desk.vocabulary.detokenize(command.tokens))])

    def _submit(self, prepared: Prepared) -> None:
        grammar, request = prepared.submit.grammar, prepared.submit.id
        if grammar is None or self._grammars is None:
            self._hand_over(prepared, was_underway=bool(prepared.submit.media))
            return

        def done(compiled: Compiled) -> None:
            self._hand_over(replace(prepared, grammar=compiled), was_underway=True)

        def fail(error: PunaError) -> None:
            with self._lock:
                self._underway.discard(request)
            self._events.fail(request, error)

        if not prepared.submit.media:
            with self._lock:
                self._underway.add(request)
        self._grammars.order(grammar, done, fail)

    def _hand_over(self, prepared: Prepared, *, was_underway: bool) -> None:
        """To the loop, unless it was cancelled while another thread had it."""
        request = prepared.submit.id
        with self._lock:
            if not was_underway or request in self._underway:
                self._underway.discard(request)
                self.orders.put(prepared)
