"""Grammars made ready for streams, in threads of their own: the loop and the command reader never wait for one."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from server.engine import bindings
from server.engine.constraint import Constraint, Matcher, failure
from server.engine.mask import TokenMask
from server.engine.schema import checked_schema
from server.engine.vocabulary import Vocabulary
from server.errors import InvalidRequest, PunaError
from server.messages.frames import Grammar

COMPILE_SECONDS = 5.0
COMPILERS = 2  # at once; one that has run out of its time cannot be stopped, and counts until it ends
KEPT_GRAMMARS = 64
NICENESS = 10
SPECIAL = b"\xff"  # marks a token that is no text; the byte occurs in no UTF-8
SPACE = r"/[ \t\r\n]{1,16}/"
FREE_SPACE = ("json_object", "json_schema")  # white space around these means nothing


class Compiled:
    """A grammar for one vocabulary; each stream begins with copies of its matchers."""

    def __init__(self, grammar: Grammar, vocabulary: Vocabulary, tokenizer: Any) -> None:
        """Raises InvalidRequest with the reason."""
        self._grammar = grammar
        self._vocabulary = vocabulary
        self._tokenizer = tokenizer
        body = _body(grammar)
        self._answer = self._compile(body, may_think=False)
        self._opening = self._compile(body, may_think=True) if grammar.opening else None

    def _compile(self, body: str, *, may_think: bool) -> Matcher:
        """A matcher that has made its first mask, which is where some grammars turn out to be too large."""
        from llguidance import LLMatcher, LLParserLimits

        limits = LLParserLimits(verbose_errors=False)
        text = _around(self._grammar, body, self._vocabulary, may_think=may_think)
        matcher = LLMatcher(self._tokenizer, text, log_level=0, limits=limits)
        mask = TokenMask(self._vocabulary.size)
        if not matcher.is_error():
            matcher.unsafe_compute_mask_ptr(mask.address, mask.bytes)
        if matcher.is_error():
            raise failure(matcher)
        if not mask.read():
            raise InvalidRequest("The grammar of this answer allows no text at all.")
        return matcher

    def begin(self) -> Constraint:
        return Constraint(self._grammar, self._vocabulary, self._matcher, self._tokens)

    def _matcher(self, may_think: bool) -> Matcher:
        source = self._opening if may_think else self._answer
        assert source is not None
        return source.deep_copy()

    def _tokens(self, data: bytes) -> list[int]:
        return list(self._tokenizer.tokenize_bytes(data))


class Ticket:
    """One order: the first outcome counts."""

    def __init__(self, done: Callable[[Compiled], None], fail: Callable[[PunaError], None]) -> None:
        self._done, self._fail = done, fail
        self._lock = threading.Lock()
        self._is_settled = False

    def deliver(self, compiled: Compiled) -> None:
        if self._settle():
            self._done(compiled)

    def refuse(self, error: PunaError) -> None:
        if self._settle():
            self._fail(error)

    def _settle(self) -> bool:
        with self._lock:
            was_settled, self._is_settled = self._is_settled, True
        return not was_settled


class Grammars:
    """All of a model. The tokenizer is made for the first one: that takes up to half a second for large
    vocabularies, and most models never need it."""

    def __init__(self, vocabulary: Vocabulary, seconds: float = COMPILE_SECONDS) -> None:
        self._vocabulary = vocabulary
        self._seconds = seconds
        self._tokenizer: Any = None
        self._making = threading.Lock()
        self._lock = threading.Lock()
        self._compiled: OrderedDict[Grammar, Compiled] = OrderedDict()
        self._places = threading.BoundedSemaphore(COMPILERS)

    def order(self, grammar: Grammar, done: Callable[[Compiled], None], fail: Callable[[PunaError], None]) -> None:
        """One of the two is called, once: at once, or later from another thread."""
        found = self._find(grammar)
        if found is not None:
            done(found)
            return
        ticket = Ticket(done, fail)
        threading.Thread(target=self._make, args=(grammar, ticket), name="grammar", daemon=True).start()

    def _find(self, grammar: Grammar) -> Compiled | None:
        with self._lock:
            found = self._compiled.get(grammar)
            if found is not None:
                self._compiled.move_to_end(grammar)
            return found

    def _make(self, grammar: Grammar, ticket: Ticket) -> None:
        step_back()
        try:
            tokenizer = self._ready_tokenizer()
        except Exception as error:
            ticket.refuse(PunaError("This model's vocabulary cannot be used with a grammar.", log=repr(error)))
            return
        late = InvalidRequest(
            f"The schema or grammar was not ready after {self._seconds:g} seconds; use a simpler one, or try again "
            "when fewer are being prepared."
        )
        clock = threading.Timer(self._seconds, ticket.refuse, (late,))
        clock.daemon = True
        clock.start()
        if not self._places.acquire(timeout=self._seconds):
            return
        try:
            compiled = self._find(grammar) or Compiled(grammar, self._vocabulary, tokenizer)
            self._keep(grammar, compiled)
            ticket.deliver(compiled)
        except PunaError as error:
            ticket.refuse(error)
        except Exception as error:
            ticket.refuse(InvalidRequest(f"The schema or grammar cannot be read: {error}.", log=repr(error)))
        finally:
            self._places.release()
            clock.cancel()

    def _keep(self, grammar: Grammar, compiled: Compiled) -> None:
        with self._lock:
            self._compiled[grammar] = compiled
            if len(self._compiled) > KEPT_GRAMMARS:
                self._compiled.popitem(last=False)

    def _ready_tokenizer(self) -> Any:
        with self._making:
            if self._tokenizer is None:
                self._tokenizer = make_tokenizer(self._vocabulary)
            return self._tokenizer


def step_back() -> None:
    """Leave the processor to the decoding threads. Linux counts niceness by thread; elsewhere it is the process's."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


def make_tokenizer(vocabulary: Vocabulary) -> Any:
    """The vocabulary as llguidance has it. Control tokens are no text, so no grammar allows them by their letters."""
    from llguidance import LLTokenizer

    pieces = [vocabulary.piece(token) or SPECIAL + vocabulary.special_piece(token) for token in range(vocabulary.size)]
    tokenize = ctypes.cast(bindings.untyped("llama_tokenize"), ctypes.c_void_p).value
    ends = sorted(vocabulary.end_tokens) or [max(vocabulary.eos, 0)]
    make = LLTokenizer.from_llamacpp  # type: ignore[attr-defined]
    return make(
        tokens=pieces, vocab_ptr=vocabulary.handle, tokenize_fptr=tokenize, eos_token=ends,
        slices=LLTokenizer.json_slices(),
    )  # fmt: skip


# ---- the text of a grammar -------------------------------------------------------------------------------------------


def _body(grammar: Grammar) -> str:
    """The grammar itself as one member of llguidance's list, without braces."""
    if grammar.kind == "lark":
        return f'"lark_grammar": {json.dumps(grammar.source)}'
    if grammar.kind == "gbnf":
        from llguidance.gbnf_to_lark import gbnf_to_lark

        return f'"lark_grammar": {json.dumps(gbnf_to_lark(grammar.source))}'
    if grammar.kind == "regex":
        from llguidance import regex_to_lark

        return f'"lark_grammar": {json.dumps(f"start: /{regex_to_lark(grammar.source)}/")}'
    source = grammar.source if grammar.kind == "json_schema" else '{"type": "object"}'
    return f'"json_schema": {checked_schema(source)}'


def _around(grammar: Grammar, body: str, vocabulary: Vocabulary, *, may_think: bool) -> str:
    """The grammar with what may stand in front of it and must stand around it, in llguidance's own JSON."""
    answer = " ".join([*_words(grammar.before, vocabulary), "@body", *_words(grammar.behind, vocabulary)])
    others = [text for text in (grammar.opening if may_think else "", *grammar.unless) if text]
    # A token may bring more than the text, so anything may follow; the stream looks at the text itself.
    others = [" ".join([*_words(text, vocabulary), "rest?"]) for text in others]
    begins_behind = bool(grammar.after)
    if answer == "@body" and not others and not begins_behind:
        return f'{{"grammars": [{{{body}}}]}}'
    choices = " | ".join([answer, *others])
    if begins_behind and (not may_think or grammar.kind in FREE_SPACE):
        lark = f"start: space? answer\nspace: {SPACE}\nanswer: {choices}\n"
    elif begins_behind:  # space may stand before a thought, but is no part of what such a grammar describes
        lark = f"start: {answer} | space? other\nspace: {SPACE}\nother: {' | '.join(others)}\n"
    else:
        lark = f"start: {choices}\n"
    lark += "rest: /(?s:.)+/\n" if others else ""
    return f'{{"grammars": [{{"lark_grammar": {json.dumps(lark)}}}, {{"name": "body", {body}}}]}}'


def _words(text: str, vocabulary: Vocabulary) -> list[str]:
    """A text in Lark's syntax: control tokens by their numbers, the rest as letters."""
    if not text:
        return []
    tokens = vocabulary.tokenize(text, add_special=False).tolist()
    special = {vocabulary.special_piece(token).decode(): token for token in tokens if not vocabulary.piece(token)}
    special.pop("", None)
    if not special:
        return [json.dumps(text, ensure_ascii=False)]
    parts = re.split(f"({'|'.join(map(re.escape, sorted(special, key=len, reverse=True)))})", text)
    return [
        f"<[{special[part]}]>" if part in special else json.dumps(part, ensure_ascii=False) for part in parts if part
    ]
