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


# Anything: quotes, ends of lines, characters that print nothing, halves of surrogate pairs.
VALUES = st.text(
    st.one_of(st.sampled_from(' "\n\r\t#ab\\{}\x00\u200d\u00a0\ud800'), st.characters()), max_size=40
) | st.lists(st.sampled_from(['"', '"""', "\n", "\r", " ", "a", "\u200d", "'"]), max_size=12).map("".join)
INSTRUCTIONS = st.one_of(
    st.builds(Instruction, st.sampled_from(["from", "system", "template", "license", "requires", "adapter"]), VALUES),
    st.builds(Instruction, st.just("message"), VALUES, st.sampled_from(["system", "user", "assistant"])),
    st.builds(Instruction, st.just("parameter"), VALUES, st.from_regex(r"[A-Za-z0-9_]{0,8}", fullmatch=True)),
)


@given(st.lists(INSTRUCTIONS, max_size=6))
def test_printing_reads_back(instructions: list[Instruction]) -> None:
    """model-store 84: anything that a model can hold, and what was read reads back as well."""
    file = Modelfile((Instruction("from", "x"), *instructions))
    again = parse(str(file))
    assert again.instructions == file.instructions
    assert str(again) == str(file)


@given(st.text(st.one_of(st.sampled_from(' "\n\r\tFROMSYTE#'), st.characters()), max_size=60))
def test_what_was_read_prints_and_reads_the_same(text: str) -> None:
    with contextlib.suppress(InvalidModelfile):
        file = parse(f"FROM x\n{text}\nSYSTEM {text}\n")
        printed = str(file)
        assert parse(printed).instructions == file.instructions
        assert "# exactly" not in printed  # what a Modelfile said once it can say again


def test_the_exact_value_counts_as_long_as_nobody_changes_the_text() -> None:
    value = 'Bonjour\u00a0! \U0001f468\u200d\U0001f469 """\nend'
    text = str(Modelfile((Instruction("from", "x"), Instruction("system", value))))
    assert text.splitlines()[1] == ('# exactly "Bonjour\\u00a0! \\ud83d\\udc68\\u200d\\ud83d\\udc69 \\"\\"\\"\\nend"')
    assert parse(text).last("system") == value
    assert parse(text.replace("\nend", "\nEND")).last("system").endswith("\nEND")
    assert parse("FROM x\n# exactly 5\nSYSTEM y\n").last("system") == "y"
    assert parse('FROM x\n# exactly "z\nSYSTEM y\n').last("system") == "y"
    assert parse('# exactly "x\\u200d"\n# more\nFROM x\n').last("from") == "x"


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("FROM x\nBAD x\n", 2),
        ('FROM x\n\nSYSTEM "abc\nmore\n', 3),
        ("FROM x\nPARAMETER foo\n", 2),
        ("FROM x\nMESSAGE nobody hi\n", 2),
        ("", 0),
    ],
)
def test_errors_know_their_line(source: str, line: int) -> None:
    with pytest.raises(InvalidModelfile) as caught:
        parse(source)
    assert caught.value.line == line


def test_parameters_know_their_line() -> None:
    with pytest.raises(InvalidModelfile, match="invalid float value") as caught:
        parameters.of_file(parse("FROM x\nPARAMETER stop a\nPARAMETER temperature hot\nPARAMETER top_k 5\n"))
    assert caught.value.line == 3
    good = parse("FROM x\nPARAMETER stop a\nREQUIRES 0.1.0\nPARAMETER stop b\n")
    assert parameters.of_file(good) == {"stop": ["a", "b"]}
    assert good.line_of("requires") == 3


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
