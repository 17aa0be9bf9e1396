"""The words for syntax errors, and what a lenient decoder accepts (native-api 1.6)."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.api.gojson import Members, parse, plain
from server.api.json_errors import syntax_error
from server.errors import InvalidRequest


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "missing request body"),
        (b" \n\t", "missing request body"),  # native-api 14, 15
        (b"{", "unexpected EOF"),  # native-api 17
        (b'{"model":"ab', "unexpected EOF"),
        (b"xx", "invalid character 'x' looking for beginning of value"),  # native-api 18
        (b'{"a":1,}', "invalid character '}' looking for beginning of object key string"),  # native-api 19
        (b"{a:1}", "invalid character 'a' looking for beginning of object key string"),
        (b'{"a":1 "b":2}', "invalid character '\"' after object key:value pair"),
        (b'{"a" 1}', "invalid character '1' after object key"),
        (b'{"a":[1 2]}', "invalid character '2' after array element"),
        (b"[1,]", "invalid character ']' looking for beginning of value"),
        (b'{"a":"b\nc"}', "invalid character '\\n' in string literal"),
        (b'{"a":"\\x"}', "invalid character 'x' in string escape code"),
        (b'{"a":"\\u12"}', "invalid character '\"' in \\u hexadecimal character escape"),
        (b"nul}", "invalid character '}' in literal null (expecting 'l')"),
        (b'{"a":1.}', "invalid character '}' after decimal point in numeric literal"),
        (b'{"a":-}', "invalid character '}' in numeric literal"),
        (b'{"a":1e+}', "invalid character '}' in exponent of numeric literal"),
        (b'{"a":01}', "invalid character '1' after object key:value pair"),
        (b'{"a":NaN}', "invalid character 'N' looking for beginning of value"),
        (b'{"a":-Infinity}', "invalid character 'I' in numeric literal"),
        (b"\xef\xbb\xbf{}", "invalid character 'ï' looking for beginning of value"),  # native-api 33
        (b"\x1f\x8b", "invalid character '\\x1f' looking for beginning of value"),  # native-api 32
        (b"'a'", "invalid character '\\'' looking for beginning of value"),
        (b"\\", "invalid character '\\\\' looking for beginning of value"),
        (b"[" * 5000, "exceeded max depth"),
        (b'{"a":' * 5000, "exceeded max depth"),
    ],
)
def test_words_of_an_error(body: bytes, sentence: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(body)
    assert str(caught.value) == sentence
    assert caught.value.status == 400


def test_lenience() -> None:
    """native-api 29, 31"""
    assert parse(b'  {"a":1,"A":2,"a":3} and more') == Members([("a", 1), ("A", 2), ("a", 3)])
    assert parse(b"null") is None
    assert parse(b'"\xff"') == "\ufffd"
    assert parse(b'"\\ud800x\\ud83d\\ude00"') == "\ufffdx😀"


def test_numbers_keep_how_they_were_written() -> None:
    value = parse(b"[5.0, 5, 1e400]")
    assert value[0].text == "5.0"
    assert isinstance(value[1], int)
    assert parse(b"[" + b"9" * 5000 + b"]")[0] == float("inf")


def test_free_integers_beyond_64_bits_become_floats() -> None:
    assert plain(parse(b"[18446744073709551615, 18446744073709551616]")) == [2**64 - 1, 2.0**64]
    assert [type(item) for item in plain(parse(b"[18446744073709551615, 18446744073709551616]"))] == [int, float]


def test_free_values_are_bounded_in_depth() -> None:
    nested = b'{"a":' * 300 + b"1" + b"}" * 300
    with pytest.raises(InvalidRequest, match="exceeded max depth"):
        plain(parse(nested))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(),
        lambda x: st.lists(x) | st.dictionaries(st.text(), x),
    )
)
def test_what_python_writes_is_read_back(value: object) -> None:
    assert plain(parse(json.dumps(value).encode())) == value
    assert syntax_error(json.dumps(value).encode()) == "invalid JSON"


@given(st.binary(max_size=40))
def test_any_bytes_give_a_value_or_a_sentence(body: bytes) -> None:
    sentences: list[str] = []
    try:
        parse(body)
    except InvalidRequest as error:
        sentences.append(str(error))
    assert "invalid JSON" not in sentences
