"""Proxies by the usual variables (model-store 73)."""

from __future__ import annotations

import pytest

from server.errors import InvalidSetting
from server.settings import proxy_for, setting_named

PROXY = "http://proxy.example.com:3128"


@pytest.mark.parametrize(
    ("environ", "scheme", "host", "expected"),
    [
        ({"HTTPS_PROXY": PROXY}, "https", "registry.ollama.ai", PROXY),
        ({"https_proxy": PROXY}, "https", "registry.ollama.ai", PROXY),
        ({"HTTPS_PROXY": "proxy:1"}, "https", "a.b", "http://proxy:1"),
        ({"HTTPS_PROXY": PROXY}, "http", "a.b", ""),
        ({"HTTP_PROXY": PROXY}, "http", "a.b", PROXY),
        ({"ALL_PROXY": PROXY}, "https", "a.b", ""),
        ({}, "https", "a.b", ""),
        ({"HTTPS_PROXY": PROXY}, "https", "127.0.0.1", ""),
        ({"HTTPS_PROXY": PROXY}, "https", "localhost", ""),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "*"}, "https", "a.b", ""),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "b.c, a.b"}, "https", "a.b", ""),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "b"}, "https", "a.b", ""),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "b"}, "https", "ab", PROXY),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": ".a.b"}, "https", "a.b", PROXY),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": ".a.b"}, "https", "x.a.b", ""),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "a.b:444"}, "https", "a.b", PROXY),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "a.b:443"}, "https", "A.b", ""),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "10.0.0.0/8"}, "https", "10.2.3.4", ""),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "10.0.0.0/8"}, "https", "11.2.3.4", PROXY),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "10.2.3.4"}, "https", "10.2.3.4", ""),
    ],
)
def test_which_proxy(environ: dict[str, str], scheme: str, host: str, expected: str) -> None:
    assert proxy_for(scheme, host, 443, environ) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Registry.Example.com", ("registry.example.com",)),
        ("a:5000, 10.0.0.7/8 ,[::1]:5000", ("a:5000", "10.0.0.0/8", "[::1]:5000")),
        ("fd00::1", ("fd00::1",)),
        ("192.168.1.10:5000", ("192.168.1.10:5000",)),
    ],
)
def test_listed_registries(text: str, expected: tuple[str, ...]) -> None:
    assert setting_named("PUNA_REGISTRIES").read(text, "here") == expected


@pytest.mark.parametrize("text", ["https://a.b", "a b", "a/b", "10.0.0.0/99", "-a", "a:b", "user@host"])
def test_what_is_no_registry(text: str) -> None:
    with pytest.raises(InvalidSetting, match="PUNA_REGISTRIES"):
        setting_named("PUNA_REGISTRIES").read(text, "here")
