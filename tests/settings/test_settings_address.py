"""runtime 2.3: what OLLAMA_HOST means to a server and to its clients."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.errors import InvalidSetting
from server.settings import Settings, client_url, is_loopback, load


def read(text: str, tmp_path: Path) -> Settings:
    return load({"OLLAMA_HOST": text}, tmp_path / "none.toml", cloud_file=tmp_path / "none.json")


@pytest.mark.parametrize(
    ("text", "host", "port", "url"),
    [
        ("", "127.0.0.1", 11434, "http://127.0.0.1:11434"),
        ("1.2.3.4", "1.2.3.4", 11434, "http://1.2.3.4:11434"),
        (":1234", "", 1234, "http://127.0.0.1:1234"),
        ("0.0.0.0", "0.0.0.0", 11434, "http://127.0.0.1:11434"),
        ("[::]:80", "::", 80, "http://[::1]:80"),
        ("example.com:1234", "example.com", 1234, "http://example.com:1234"),
        ("http://1.2.3.4", "1.2.3.4", 80, "http://1.2.3.4:80"),
        ("https://1.2.3.4", "1.2.3.4", 443, "https://1.2.3.4:443"),
        (":0", "", 0, "http://127.0.0.1:0"),
        ("::1", "::1", 11434, "http://[::1]:11434"),
        ("[::1]", "::1", 11434, "http://[::1]:11434"),
        ("[::1]:1337", "::1", 1337, "http://[::1]:1337"),
        ("https://example.com/ollama", "example.com", 443, "https://example.com:443/ollama"),
        ("https://example.com/ollama/", "example.com", 443, "https://example.com:443/ollama"),
        ("example.com/a/b", "example.com", 11434, "http://example.com:11434/a/b"),
        ('  "1.2.3.4"  ', "1.2.3.4", 11434, "http://1.2.3.4:11434"),
        ("ollama.com", "ollama.com", 443, "https://ollama.com:443"),
    ],
)
def test_address(text: str, host: str, port: int, url: str, tmp_path: Path) -> None:
    """runtime 1, 2, 3, 4, 6, 8"""
    settings = read(text, tmp_path)
    assert (settings.host, settings.port, client_url(settings)) == (host, port, url)


@pytest.mark.parametrize("text", [":66000", ":-1", ":x", "ftp://a", "a b", "[1]", "1::2::3", "host:", "http://[::1"])
def test_what_is_no_address_is_refused(text: str, tmp_path: Path) -> None:
    """runtime 5, improved: refused instead of replaced"""
    with pytest.raises(InvalidSetting, match="OLLAMA_HOST"):
        read(text, tmp_path)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("[::1]", True), ("localhost", True),
        ("LOCALHOST", True), ("a.localhost", True), ("", False), ("0.0.0.0", False), ("::", False),
        ("192.168.1.2", False), ("example.com", False),
    ],
)  # fmt: skip
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
