"""Text of an answer: whole characters, hidden stop strings, log-probabilities per piece of text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engine.text import AnswerText, Shown, TokenChance

pieces = st.lists(st.binary(max_size=5), max_size=30)


def run(stops: list[str], tokens: list[bytes], *, chances: bool = False) -> tuple[list[Shown], bool]:
    """All that is shown, and whether a stop string ended it."""
    answer = AnswerText(stops, with_chances=chances)
    shown = []
    for place, token in enumerate(tokens):
        chance = TokenChance(token, -float(place), [(token, -float(place))]) if chances else None
        shown.append(answer.feed(token, chance))
        if shown[-1].stopped:
            return shown, True
    return [*shown, answer.flush()], False


def text_of(shown: list[Shown]) -> str:
    return "".join(part.text for part in shown)


@given(pieces)
def test_any_bytes_come_out_as_if_decoded_at_once(tokens: list[bytes]) -> None:
    shown, _ = run([], tokens)
    assert text_of(shown) == b"".join(tokens).decode(errors="replace")


@given(st.text(max_size=40), st.data())
def test_a_text_in_any_pieces_never_shows_half_a_character(text: str, data: st.DataObject) -> None:
    raw = text.encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=8)))
    tokens = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    shown, _ = run([], tokens)
    assert text_of(shown) == text
    so_far = ""
    for part in shown:
        so_far += part.text
        assert text.startswith(so_far)


@given(st.text("abST", max_size=30), st.lists(st.text("abST", min_size=1, max_size=4), max_size=3), st.data())
def test_stop_strings_never_show_even_in_part(text: str, stops: list[str], data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=10)))
    tokens = [text[a:b].encode() for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    for chances in (False, True):
        shown, stopped = run(stops, tokens, chances=chances)
        places = [text.find(stop) for stop in stops if stop in text]
        assert stopped == bool(places)
        # The first to be complete ends the answer; one that began earlier may win only within the same token.
        assert text.startswith(text_of(shown))
        assert not any(stop in text_of(shown) for stop in stops)
        if not places:
            assert text_of(shown) == text


@given(pieces, st.lists(st.text("ab\u00e9", min_size=1, max_size=3), max_size=2))
def test_entries_spell_exactly_what_is_shown(tokens: list[bytes], stops: list[str]) -> None:
    shown, _ = run(stops, tokens, chances=True)
    for part in shown:
        assert "".join(entry.token for entry in part.entries) == part.text


def test_an_empty_stop_string_is_ignored() -> None:
    assert run([""], [b"a", b"b"]) == ([Shown("a"), Shown("b"), Shown("", (), True)], False)


def test_a_stop_over_two_tokens_holds_back_its_beginning() -> None:
    shown, stopped = run(["STOP"], [b"beta", b" ST", b"OP", b" gamma"])
    assert [part.text for part in shown] == ["beta", " ", ""]
    assert stopped


def test_a_beginning_that_does_not_go_on_is_shown() -> None:
    shown, stopped = run(["STOQ"], [b" ST", b"OP"])
    assert [part.text for part in shown] == [" ", "STOP", ""]
    assert not stopped


def test_text_held_back_at_the_end_is_shown() -> None:
    shown, _ = run(["STOP"], [b"a ST"])
    assert text_of(shown) == "a ST"


def test_the_first_of_several_stops_wins() -> None:
    shown, stopped = run(["seven", "three"], [b"one, three, seven"])
    assert stopped
    assert text_of(shown) == "one, "


def test_an_unfinished_character_ends_as_a_replacement() -> None:
    shown, _ = run([], [b"Hi \xf0\x9f"])
    assert [part.text for part in shown] == ["Hi ", "\ufffd"]


def test_a_character_of_several_tokens_is_one_entry() -> None:
    llama = "\N{LLAMA}".encode()
    shown, _ = run([], [b"Hi ", *(bytes([byte]) for byte in llama), b" done"], chances=True)
    entries = [entry for part in shown for entry in part.entries]
    assert [entry.token for entry in entries] == ["Hi ", "\N{LLAMA}", " done"]
    assert entries[1].bytes == tuple(llama)
    assert entries[1].logprob == -(1 + 2 + 3 + 4), "the probability that all of its tokens came"
    assert entries[1].top[0].token == "\N{LLAMA}"


def test_a_token_cut_by_a_stop_appears_cut() -> None:
    shown, stopped = run(["STOP"], [b"alpha", b" beta", b" ST", b"OP"], chances=True)
    assert stopped
    entries = [entry for part in shown for entry in part.entries]
    assert [entry.token for entry in entries] == ["alpha", " beta", " "]


def test_with_chances_a_token_is_shown_whole_or_not_yet() -> None:
    shown, _ = run(["STOQ"], [b" ST", b"OP"], chances=True)
    assert [[entry.token for entry in part.entries] for part in shown] == [[], [" ST", "OP"], []]


def test_a_token_that_prints_nothing_has_an_entry() -> None:
    shown, _ = run([], [b"a", b"", b"b"], chances=True)
    assert [entry.token for part in shown for entry in part.entries] == ["a", "", "b"]


@pytest.mark.parametrize("text", ["é", "€", "🦙", "aé", "a🦙b"])
def test_characters_byte_by_byte(text: str) -> None:
    shown, _ = run([], [bytes([byte]) for byte in text.encode()])
    assert [part.text for part in shown if part.text] == list(text)
