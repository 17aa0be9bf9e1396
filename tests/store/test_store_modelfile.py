"""Modelfiles: every vector, every error, and printing that reads back."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import InvalidModelfile
from server.store import parameters
from server.store.modelfile import Instruction, Modelfile, parse, quoted, unquoted

COMMANDS = (
    'command must be one of "from", "license", "template", "system", "adapter", "draft", "renderer", "parser", '
    '"parameter", "message", or "requires"'
)
ROLES = 'message role must be one of "system", "user", or "assistant"'


@pytest.mark.parametrize(
    ("source", "instructions"),
    [
        ("from foo", [("from", "foo")]),
        ("# x\r\nFROM foo\r\nSYSTEM hi\r\n", [("from", "foo"), ("system", "hi")]),
        ('FROM foo\nSYSTEM "a\nb"\nTEMPLATE x\n', [("from", "foo"), ("system", "a\nb"), ("template", "x")]),
        ("FROM foo\nSYSTEM 'a b'\n", [("from", "foo"), ("system", "'a b'")]),
        ('FROM foo\nSYSTEM """"quoted""""\n', [("from", "foo"), ("system", '"quoted"')]),
        ('FROM foo\nSYSTEM ""\n', [("from", "foo"), ("system", "")]),
        ("FROM foo\nMESSAGE user hi: there\n", [("from", "foo"), ("message", "hi: there", "user")]),
        ("FROM foo\nMESSAGE user \n", [("from", "foo"), ("message", "", "user")]),
        ("FROM foo\nSYSTEM a\u200db\u00a0c\ad\te\n", [("from", "foo"), ("system", "abcd\te")]),
        ("FROM foo\nsystem x y  z  \n", [("from", "foo"), ("system", "x y  z")]),
        ("FROM ", [("from", "")]),
        ("FROM foo # c", [("from", "foo # c")]),
        ('FROM x\nSYSTEM """\nA\n"""', [("from", "x"), ("system", "\nA\n")]),
        ('FROM x\nSYSTEM """abc""" tail\nmore"""\n', [("from", "x"), ("system", 'abc""" tail\nmore')]),
        ("  \t from x\n\n   # no\n", [("from", "x")]),
        ("FROM x\nPARAMETER  x 1\n", [("from", "x"), ("parameter", "x 1", "")]),
        ('FROM x\nSYSTEM "a  \n\n\nLICENSE b" \n', [("from", "x"), ("system", "a  \n\n\nLICENSE b")]),
    ],
)
def test_vectors(source: str, instructions: list[tuple[str, ...]]) -> None:
    """model-store 79."""
    assert list(parse(source).instructions) == [Instruction(*each) for each in instructions]


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("FROM foo\nMESSAGE User hi\n", f"(line 2): {ROLES}"),
        ('FROM foo\nSYSTEM "abc\n', "unexpected EOF"),
        ("FROM foo\nBAD x\n", f"(line 2): {COMMANDS}"),
        ("FROM foo\nBAD\n", f"(line 3): {COMMANDS}"),
        ("FROM\n", f"(line 2): {COMMANDS}"),
        ("FROM foo\nSYSTEM line1\\\nline2\n", f"(line 3): {COMMANDS}"),
        ("FROM foo\n1abc x\n", f"(line 2): {COMMANDS}"),
        ("# x\r\nBAD x", f"(line 3): {COMMANDS}"),
        ("", "no FROM line"),
        ("# only words\n", "no FROM line"),
        ("FROM x\nPARAMETER num-ctx 3\n", "unexpected EOF: num"),
        ("FROM x\nPARAMETER foo\n", "unexpected EOF: foo"),
        ("FROM x\nMESSAGE user\n", "unexpected EOF: user"),
        ("FROM x\nMESSAGE  hi\n", f"(line 2): {ROLES}"),
        ("FROM", "unexpected EOF"),
    ],
)
def test_errors(source: str, sentence: str) -> None:
    """model-store 79."""
    with pytest.raises(InvalidModelfile) as caught:
        parse(source)
    assert str(caught.value) == sentence


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-8"])
def test_encodings(encoding: str) -> None:
    assert parse("FROM é".encode(encoding)).last("from") == "é"
    assert parse("\ufeffFROM x".encode("utf-16-be")).last("from") == "x"
    assert parse(b"FROM a\xffb").last("from") == "a\ufffdb"


def test_dropped_characters_are_counted() -> None:
    assert parse("FROM a\u200d\u00a0b\n").dropped == 2


@pytest.mark.parametrize(
    ("lines", "values"),
    [
        ("stop a\nPARAMETER stop b", {"stop": ["a", "b"]}),
        ("temperature 0.7\nPARAMETER temperature 1", {"temperature": 1.0}),
        ("num_ctx 4096", {"num_ctx": 4096}),
        ("use_mmap F", {"use_mmap": False}),
        ("top_p 0.123456789", {"top_p": 0.12345679}),
        ("mirostat 2", {}),
        ('stop "a b"', {"stop": ["a b"]}),
    ],
)
def test_parameters(lines: str, values: dict[str, Any]) -> None:
    """model-store 80 and 83."""
    assert parameters.typed(parse(f"FROM x\nPARAMETER {lines}\n").parameters) == values


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("temperature abc", "invalid float value [abc]"),
        ("temperature nan", "invalid float value [nan]"),
        ("temperature 1e99", "invalid float value [1e99]"),
        ("num_ctx 4k", "invalid int value [4k]"),
        ("num_ctx 99999999999999999999", "invalid int value [99999999999999999999]"),
        ("use_mmap yes", "invalid bool value [yes]"),
        ("foo 1", "unknown parameter 'foo'"),
        ("model x", "unknown parameter 'model'"),
        (" x 1", "unknown parameter ''"),
    ],
)
def test_wrong_parameters(line: str, sentence: str) -> None:
    """model-store 81."""
    with pytest.raises(InvalidModelfile) as caught:
        parameters.typed(parse(f"FROM x\nPARAMETER {line}\n").parameters)
    assert str(caught.value) == sentence


def test_deprecated_parameters_warn() -> None:
    """model-store 83."""
    assert parameters.warnings([("mirostat", "1"), ("stop", "x")]) == ["warning: parameter mirostat is deprecated"]


def test_required_versions() -> None:
    """model-store 82."""
    for version in ("0.14.0", "v1", "v1.2", "1.2.3-rc1+x", ""):
        parameters.check_requires(version)
    for version in ("abc", "1.2.3.4", "01.2", "1.2-rc"):
        with pytest.raises(InvalidModelfile, match=r"requires must be a valid semver \(e.g. 0.14.0\)"):
            parameters.check_requires(version)


# What a Modelfile can say: characters that print nothing are dropped, and three quotes at the end of a line that is not
# the last end the value, so neither comes back.
VALUES = st.text(
    st.one_of(st.sampled_from(' "\n\t#ab\\{}'), st.characters(categories=("L", "N", "P", "S"))), max_size=40
).filter(lambda value: '"' not in value or not _ends_early(value))


def _ends_early(value: str) -> bool:
    quotes = '"""' if '"' in value else '"'
    lines = f"{quotes}{value}".split("\n")
    return any(line.rstrip(" \t").endswith(quotes) for line in lines[1:-1]) or lines[0].rstrip(" \t").endswith(quotes)


@given(st.lists(st.builds(Instruction, st.sampled_from(["system", "template", "license", "requires"]), VALUES)))
def test_printing_reads_back(instructions: list[Instruction]) -> None:
    """model-store 84."""
    file = Modelfile((Instruction("from", "x"), *instructions, Instruction("parameter", "a b", "stop")))
    assert parse(str(file)) == file


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    for source in (text, f"FROM x\nSYSTEM {text}\n"):
        with contextlib.suppress(InvalidModelfile):
            assert parse(source).values("from")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"), ("a\nb", '"a\nb"'),
        ('a "b"\nc', '"""a "b"\nc"""'), (" a", '" a"'), ('say "hi"', 'say "hi"'),
        ('"hi"', '""""hi""""'), ("", ""), ("</s>", "</s>"),
    ],
)  # fmt: skip
def test_quotes_where_they_are_needed(value: str, text: str) -> None:
    assert quoted(value) == text
    assert unquoted(text) == value


def test_a_long_license_is_quick() -> None:
    license_text = '"' + "all rights, no warranty\n" * 40_000 + '"'
    started = time.process_time()
    assert len(parse(f"FROM x\nLICENSE {license_text}\n").last("license")) == 40_000 * 24
    assert time.process_time() - started < 5
