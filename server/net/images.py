"""Images that a request names by their address, fetched from where the user allows it."""

from __future__ import annotations

from collections.abc import Collection

from server.net.addresses import AddressPolicy
from server.net.fetch import MB, FetchFailed, fetch, is_web_address
from server.net.transport import Transport

PUBLIC = "public"  # among the allowed places: every public address
IMAGE_SECONDS = 10.0
MAX_IMAGE_BYTES = 10 * MB


class RemoteImages:
    """`allowed` are hosts with or without a port, addresses, networks, and PUBLIC.

    Nothing goes through a proxy: behind one nobody here would see which address a name has.
    """

    def __init__(self, allowed: Collection[str], *, seconds: float = IMAGE_SECONDS) -> None:
        listed = [place for place in allowed if place != PUBLIC]
        policy = AddressPolicy(listed, trusts_loopback=False, trusts_public=PUBLIC in allowed)
        self._transport = Transport(policy, proxy_of=lambda scheme, host, port: "")
        self._seconds = seconds

    async def fetch(self, url: str) -> tuple[str, bytes]:
        """The kind of the image, as in `image/png`, by its first bytes; and the image. Raises FetchFailed."""
        if not is_web_address(url):
            raise FetchFailed("has no address that can be used; it must be http or https, without a login")
        fetched = await fetch(
            self._transport,
            url,
            headers={"Accept": "image/*"},
            most_bytes=MAX_IMAGE_BYTES,
            seconds=self._seconds,
        )
        if fetched.status != 200:
            raise FetchFailed(f"was answered with the status {fetched.status}")
        kind = kind_of_image(fetched.body)
        if not kind:
            raise FetchFailed("is no PNG, JPEG, WebP, GIF or BMP image")
        return kind, fetched.body

    async def close(self) -> None:
        await self._transport.close()


def kind_of_image(data: bytes) -> str:
    """By what is in it, whatever a server calls it; "" for anything but the kinds that models are given."""
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "webp"
    signatures = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpeg", b"GIF87a": "gif", b"GIF89a": "gif"}
    for signature, kind in signatures.items():
        if data.startswith(signature):
            return kind
    # Two letters are few; four bytes that are always zero, and the size of one of the known headers, come with them.
    return "bmp" if data[:2] == b"BM" and data[6:10] == bytes(4) and data[14:18] in _BMP_HEADERS else ""


_BMP_HEADERS = {size.to_bytes(4, "little") for size in (12, 40, 52, 56, 64, 108, 124)}
