"""Origin and Host rules (native-api 1.4, 1.5; checks 35-57 as pure questions)."""

from __future__ import annotations

import pytest

from server.api.origins import HostRules, OriginRules, is_same_origin, without_port


@pytest.mark.parametrize(
    "origin",
    [
        "http://localhost:3000",
        "https://localhost",
        "http://0.0.0.0:99",
        "http://127.0.0.1",
        "app://obsidian.md",
        "vscode-webview://x",
        "vscode-file://x",
        "tauri://localhost",
        "file://",
        "http://localhost:evil",
        "HTTP://LOCALHOST:3000",
    ],
)
def test_origins_that_pass_by_default(origin: str) -> None:
    """native-api 35, 38, 41, runtime 22, 26"""
    assert OriginRules().allows(origin)


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "null",
        "",
        "chrome-extension://abc",
        "http://localhost.evil.com",
        "http://evil.example/http://localhost:",
        "http://192.168.1.7",
    ],
)
def test_origins_that_are_refused_by_default(origin: str) -> None:
    """native-api 39, 40, 42, 44"""
    assert not OriginRules().allows(origin)


@pytest.mark.parametrize(
    ("entry", "origin", "expected"),
    [
        ("chrome-extension://*", "chrome-extension://abc", True),  # native-api 42, runtime 27
        ("chrome-extension://*", "moz-extension://abc", False),
        ("https://*.example.com", "https://a.example.com", True),
        ("https://*.example.com", "https://.example.co", False),
        ("https://ab*ba", "https://aba", False),
        ("https://Example.com", "https://example.com", True),
        (" https://example.com ", "https://example.com", True),
        ("http://192.168.1.0/24", "http://192.168.1.77", True),
        ("http://192.168.1.0/24", "http://192.168.1.77:8080", True),
        ("http://192.168.1.0/24", "https://192.168.1.77", False),
        ("http://192.168.1.0/24", "http://192.168.2.1", False),
        ("http://192.168.1.0/24", "http://192.168.1.7.evil.example", False),
        ("http://192.168.1.0/24:3000", "http://192.168.1.7:3000", True),
        ("http://192.168.1.0/24:3000", "http://192.168.1.7:3001", False),
        ("192.168.1.0/24", "https://192.168.1.7", True),
        ("http://[fd00::]/8", "http://[fd00::7]:3000", True),
        ("http://[fd00::]/8:*", "http://[fd00::7]:3000", True),
        ("http://10.0.0.5/8", "http://10.200.0.1", True),
        ("http://192.168.1.1:*", "http://192.168.1.1:3000", True),  # runtime 25
        ("http://192.168.1.1:*", "http://192.168.1.2:3000", False),
        ("*", "null", True),  # native-api 45
    ],
)
def test_configured_origins(entry: str, origin: str, expected: bool) -> None:
    assert OriginRules([entry]).allows(origin) is expected


def test_a_star_among_others_allows_all() -> None:
    rules = OriginRules(["https://example.com", "*"])
    assert rules.allows_all
    assert rules.allows("http://anything.example")


def test_same_origin_is_exactly_the_host() -> None:
    """native-api 43"""
    assert is_same_origin("http://127.0.0.1:11434", "127.0.0.1:11434")
    assert is_same_origin("https://my.box", "my.box")
    assert not is_same_origin("http://127.0.0.1", "127.0.0.1:11434")


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", "name"),
        ("LOCALHOST:99", "name"),
        ("", "name"),
        ("foo.local", "name"),
        ("foo.internal:80", "name"),
        ("a.localhost", "name"),
        ("host.docker.internal", "name"),
        ("My-Box", "name"),  # native-api 53
        ("127.0.0.1", "address"),
        ("127.9.9.9:1", "address"),
        ("[::1]:80", "address"),
        ("10.0.0.5", "address"),
        ("192.168.1.1:11434", "address"),
        ("172.31.255.1:80", "address"),
        ("[fd00::1]:11434", "address"),
        ("0.0.0.0", "address"),
        ("[::ffff:127.0.0.1]:80", "address"),
        ("203.0.113.9:80", "address"),  # an address of this machine
        ("evil.example", "refused"),
        ("8.8.8.8", "refused"),
        ("169.254.1.1", "refused"),
        ("100.64.0.1", "refused"),
        ("local", "refused"),
        ("internal", "refused"),
        ("localhost.", "refused"),
        ("[::1]", "refused"),
        ("localhost.example.org", "refused"),
        ("172.32.0.1", "refused"),
    ],
)
def test_hosts(host: str, expected: str) -> None:
    """native-api 47-54, runtime 28, 29"""
    rules = HostRules("my-box", lambda: ["203.0.113.9", "fe80::1%eth0"])
    assert rules.verdict(host) == expected


def test_own_addresses_are_asked_only_for_strangers() -> None:
    asked: list[str] = []

    def own() -> list[str]:
        asked.append("asked")
        return []

    rules = HostRules("my-box", own)
    rules.verdict("127.0.0.1:80")
    rules.verdict("evil.example")
    assert asked == []
    rules.verdict("8.8.8.8")
    assert asked == ["asked"]


@pytest.mark.parametrize(
    ("host", "expected"),
    [("a:1", "a"), ("[::1]:1", "::1"), ("[::1]", "[::1]"), ("::1", "::1"), ("a", "a"), ("a:", "a")],
)
def test_the_port_is_taken_off(host: str, expected: str) -> None:
    assert without_port(host) == expected
