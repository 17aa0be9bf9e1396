"""Images that stand in a request by their address: fetched, and put in its place, before the request is read.

What follows sees the request as if the client had sent the image itself. Only where images may stand is looked for
them; where fetching is switched off nothing is touched, and the readers refuse as they always did.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any, NamedTuple

import anyio
from starlette.requests import Request

from server.api.services import Services, services_of
from server.api.streaming import while_connected
from server.api.wire_fields import Fields, RefusedField
from server.api.wire_options import read_model
from server.errors import Unsupported
from server.net.fetch import MB, FetchFailed
from server.net.images import RemoteImages
from server.net.transport import shown

AT_ONCE = 4
REQUEST_SECONDS = 60.0  # for all images; each has a limit of its own
MAX_REQUEST_BYTES = 100 * MB  # of all images: as much as a request that holds them itself may have


class _Place(NamedTuple):
    """`holder[key]` is where the image goes, `url` its address; `param` says where that is."""

    holder: dict[str, Any]
    key: str
    url: str
    param: str


async def fetch_images(request: Request, fields: Fields, *names: str) -> None:
    """Put images in the place of their addresses, in the lists of messages or items that `names` are members of the
    request. Raises RefusedField, and what becomes of a request whose model is not there or cannot see."""
    services = services_of(request)
    images = services.images
    if images is None:
        return
    places = [place for name in names for place in _places(fields.get(name), name)]
    if not places:
        return

    async def work() -> None:
        await _check_model(services, fields)
        await _fetch(images, places)

    await while_connected(request.scope, request.receive, work)


async def _check_model(services: Services, fields: Fields) -> None:
    """Nothing is fetched for a model that could not see it."""
    model = read_model(fields)
    entry = await services.catalog.find(model, "chat")
    if "vision" not in entry.capabilities:
        raise Unsupported(f'model "{model}" does not support images')


async def _fetch(images: RemoteImages, places: list[_Place]) -> None:
    """Each address once, a few at a time. The first failure ends it."""
    params: dict[str, str] = {}
    for place in places:
        params.setdefault(place.url, place.param)
    found: dict[str, tuple[str, bytes]] = {}
    failures: list[RefusedField] = []
    limiter = anyio.CapacityLimiter(AT_ONCE)

    async def one(url: str) -> None:
        async with limiter:
            try:
                found[url] = await images.fetch(url)
            except FetchFailed as error:
                why = f"The image at {shown(url)[:200]} {error}."
                failures.append(RefusedField(why, param=params[url], code="invalid_image_url", log=error.log))
            if sum(len(data) for _, data in found.values()) > MAX_REQUEST_BYTES:
                why = f"The images up to this one have more than {MAX_REQUEST_BYTES // MB} MB together."
                failures.append(RefusedField(why, param=params[url], code="invalid_image_url"))
        if failures:
            tasks.cancel_scope.cancel()

    with anyio.move_on_after(REQUEST_SECONDS) as limit:
        async with anyio.create_task_group() as tasks:
            for url in params:
                tasks.start_soon(one, url)
    if limit.cancelled_caught:
        failures.append(RefusedField(f"The images did not come within {REQUEST_SECONDS:g} seconds."))
    if failures:
        raise failures[0]
    for place in places:
        _put(place, *found[place.url])


def _put(place: _Place, kind: str, data: bytes) -> None:
    encoded = base64.b64encode(data).decode()
    if place.key == "source":
        place.holder["source"] = {"type": "base64", "media_type": f"image/{kind}", "data": encoded}
    else:
        place.holder[place.key] = f"data:image/{kind};base64,{encoded}"


def _places(value: Any, where: str) -> Iterator[_Place]:
    """Images of messages, of results within them, and of items, in all three forms."""
    for at, entry in enumerate(value if isinstance(value, list) else ()):
        if not isinstance(entry, dict):
            continue
        here = f"{where}[{at}]"
        yield from _place(entry, here)
        for name in ("content", "output"):
            yield from _places(entry.get(name), f"{here}.{name}")


def _place(part: dict[str, Any], where: str) -> Iterator[_Place]:
    kind, image, source = part.get("type"), part.get("image_url"), part.get("source")
    if kind in ("image_url", "input_image") and isinstance(image, str) and _is_address(image):
        yield _Place(part, "image_url", image, f"{where}.image_url")
    elif kind == "image_url" and isinstance(image, dict) and _is_address(image.get("url")):
        yield _Place(image, "url", image["url"], f"{where}.image_url")
    elif kind == "image" and isinstance(source, dict) and source.get("type") == "url":
        url = source.get("url")
        yield _Place(part, "source", url if isinstance(url, str) else "", where)


def _is_address(url: Any) -> bool:
    return isinstance(url, str) and url.lower().startswith(("http://", "https://"))
