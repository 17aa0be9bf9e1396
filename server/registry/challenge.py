"""How a registry asks for a token, and where it may be fetched. Source: Docker's token authentication, with Ollama's
signed query."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec

from server.errors import RegistryError

# Base64 of the hex digits of the SHA-256 of nothing: the body of a GET.
EMPTY_BODY = "ZTNiMGM0NDI5OGZjMWMxNDlhZmJmNGM4OTk2ZmI5MjQyN2FlNDFlNDY0OWI5MzRjYTQ5NTk5MWI3ODUyYjg1NQ=="
# Names of one owner, of which one may ask for a token of the other.
_ALIASES = (frozenset({"hf.co", "huggingface.co"}),)
_VALUE = re.compile(r'(\w+)="([^"]*)"')
_BEARER = re.compile(r"(?:^|,)\s*bearer\s", re.IGNORECASE)


class Challenge(msgspec.Struct, frozen=True):
    realm: str
    service: str = ""
    scopes: tuple[str, ...] = ()


def parse_challenge(header: str) -> Challenge | None:
    """The bearer challenge of a WWW-Authenticate header; None where it asks for something else."""
    begin = _BEARER.search(header)
    if begin is None:
        return None
    values = {name.lower(): value for name, value in _VALUE.findall(header[begin.end() :])}
    if not values.get("realm"):
        return None
    return Challenge(values["realm"], values.get("service", ""), tuple(values.get("scope", "").split()))


def same_owner(host: str, other: str) -> bool:
    """Whether both are one registry. Ports count: another port is another program."""
    host, other = host.lower(), other.lower()
    return host == other or any(host in names and other in names for names in _ALIASES)


def token_url(challenge: Challenge, request_url: str, nonce: str, unix_seconds: int) -> str:
    """Where the token is, its query sorted, as it is then signed.

    Raises RegistryError for a realm that is not the registry that was asked: who can answer for a registry, or in its
    place, could send our signature to another one and act there in our name.
    """
    realm, asked = urlsplit(challenge.realm), urlsplit(request_url)
    if not same_owner(realm.netloc, asked.netloc):
        raise RegistryError(f'realm host "{realm.netloc}" does not match original host "{asked.netloc}"')
    if realm.scheme != "https" and not (realm.scheme == "http" and asked.scheme == "http"):
        raise RegistryError(
            f'the registry asks for authentication at "{realm.scheme}://{realm.netloc}", not over https'
        )
    query = parse_qsl(realm.query, keep_blank_values=True)
    query += [("nonce", nonce), ("service", challenge.service), ("ts", str(unix_seconds))]
    query += [("scope", scope) for scope in challenge.scopes]
    query.sort(key=lambda pair: pair[0])  # stable: scopes keep their order
    return urlunsplit((realm.scheme, realm.netloc, realm.path, urlencode(query), ""))


def text_to_sign(url: str) -> bytes:
    return f"GET,{url},{EMPTY_BODY}".encode()


def authorization(public: str, signature: str) -> str:
    return f"{public}:{signature}"
