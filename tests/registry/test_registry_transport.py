"""The way to a registry: TLS with a CA of one's own, proxies, and names that lead nowhere (model-store 73)."""

from __future__ import annotations

import datetime
import ipaddress
import pathlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import anyio.abc
import anyio.streams.tls
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from server.errors import AddressRefused, RegistryError
from server.net.addresses import AddressPolicy
from server.net.transport import NetworkFailure, Transport, shown
from tests.registry.hostile import Answer, HostileRegistry, hostile_registry

pytestmark = pytest.mark.anyio


def make_certificate(folder: pathlib.Path) -> pathlib.Path:
    """A certificate for 127.0.0.1 that vouches for itself, with its key, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a company")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return path


@asynccontextmanager
async def over_tls(certificate: pathlib.Path) -> AsyncIterator[HostileRegistry]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    plain = await anyio.create_tcp_listener(local_host="127.0.0.1")
    registry = HostileRegistry(plain.extra(anyio.abc.SocketAttribute.local_port))
    listener = anyio.streams.tls.TLSListener(plain, context, standard_compatible=False)

    async def serve(stream: anyio.abc.AnyByteStream) -> None:
        await registry.serve(stream)  # type: ignore[arg-type]

    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        yield registry
        tasks.cancel_scope.cancel()


async def get(transport: Transport, url: str, *, is_local: bool = True) -> bytes:
    try:
        async with transport.send("GET", url, {}, is_local=is_local) as reply:
            return await reply.read(100)
    finally:
        await transport.close()


async def test_a_ca_of_ones_own(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """model-store 73"""
    certificate = make_certificate(tmp_path)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    async with over_tls(certificate) as registry:
        registry.hook = lambda asked: Answer(body=b"hello")
        url = f"https://{registry.host}/x"
        with pytest.raises(NetworkFailure, match="its certificate is not trusted"):
            await get(Transport(AddressPolicy()), url)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert await get(Transport(AddressPolicy()), url) == b"hello"
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "nothing"))
        with pytest.raises(RegistryError, match="SSL_CERT_FILE"):
            await get(Transport(AddressPolicy()), url)


async def test_a_proxy_is_asked_for_what_is_elsewhere() -> None:
    """model-store 73: its own address is nobody's business, that of the target still is"""
    async with hostile_registry() as proxy:
        proxy.hook = lambda asked: Answer(body=b"through the proxy")
        url = f"http://user:pass@{proxy.host}"
        transport = Transport(AddressPolicy(), proxy_of=lambda scheme, host, port: url)
        assert await get(transport, "http://registry.example.com/v2/x", is_local=False) == b"through the proxy"
        asked = proxy.asked[0]
        assert asked.target == "http://registry.example.com/v2/x"
        assert asked.headers["host"] == "registry.example.com"
        assert asked.headers["proxy-authorization"].startswith("Basic ")
        for private in ("http://10.0.0.1/x", "http://169.254.169.254/x", "http://[::1]/x"):
            with pytest.raises(AddressRefused):
                await get(transport, private, is_local=False)
        assert len(proxy.asked) == 1
        socks = Transport(AddressPolicy(), proxy_of=lambda scheme, host, port: "socks5://127.0.0.1:1")
        with pytest.raises(RegistryError, match="must begin with http:// or https://"):
            await get(socks, "http://registry.example.com/")


async def test_nobody_listens() -> None:
    with pytest.raises(NetworkFailure, match=r'GET "http://127\.0\.0\.1:9/v2/x": connection refused'):
        await get(Transport(AddressPolicy()), "http://127.0.0.1:9/v2/x?signature=secret")
    with pytest.raises(RegistryError, match="is no address of a registry"):
        await get(Transport(AddressPolicy()), "http://127.0.0.1:99999/")


async def test_a_body_is_bounded_and_silence_ends_a_request() -> None:
    async with hostile_registry() as registry:
        registry.hook = lambda asked: Answer(body=b"x" * 200)
        with pytest.raises(RegistryError, match="sent more than the 100 bytes"):
            await get(Transport(AddressPolicy()), registry.url)
        registry.hook = lambda asked: Answer(body=b"x" * 50, stalls_after=10)
        with pytest.raises(NetworkFailure, match="nothing came"):
            await get(Transport(AddressPolicy(), silence_seconds=0.1), registry.url)


def test_what_is_shown_of_an_address() -> None:
    assert shown("https://user:secret@host:1/path?signature=secret#x") == "https://host:1/path"
