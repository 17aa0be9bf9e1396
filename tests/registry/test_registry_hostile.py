"""Registries that lie, break off, forget and lead astray (numbers are those of the model store's checks)."""

from __future__ import annotations

import json
import pathlib
import random

import pytest

from server.errors import AddressRefused, PunaError, RegistryError, Unsupported
from server.net.addresses import AddressPolicy
from server.net.network import CheckedNetwork
from tests.registry.conftest import PART_BYTES, World, make_world
from tests.registry.hostile import Answer, Asked, HostileRegistry, digest_of, hostile_registry

pytestmark = pytest.mark.anyio

DATA = random.Random(2).randbytes(450_000)


def is_blob(asked: Asked) -> bool:
    return "/blobs/sha256" in asked.path


@pytest.fixture
def layer(remote: HostileRegistry) -> dict:
    layer = remote.add(DATA)
    remote.publish(layer)
    return layer


# ---- wrong bytes ---------------------------------------------------------------------------------------------------


async def test_wrong_content_is_removed(world: World, layer: dict) -> None:
    """model-store 65"""
    wrong = DATA[:-1] + bytes([DATA[-1] ^ 1])
    world.remote.blobs[layer["digest"]] = wrong
    with pytest.raises(RegistryError) as caught:
        await world.pull()
    want = f"digest mismatch, file must be downloaded again: want {layer['digest']}, got {digest_of(wrong)}"
    assert str(caught.value) == want
    assert world.files == []
    assert world.store.list() == []


async def test_too_many_bytes(world: World, layer: dict) -> None:
    """A file that is longer than its manifest says is refused before a byte of it is written."""
    world.remote.blobs[layer["digest"]] = DATA + b"more"
    with pytest.raises(RegistryError, match=r"has 450004 bytes, but its manifest says 450000"):
        await world.pull()
    assert world.registry.downloads.list()[0].completed == 0


async def test_more_bytes_than_the_range_says(world: World, layer: dict) -> None:
    def hook(asked: Asked) -> Answer | None:
        if not is_blob(asked) or asked.span is None:
            return None
        begin, end = asked.span
        return Answer(206, DATA[begin:end] + b"x" * 9000, {"Content-Range": f"bytes {begin}-{end - 1}/{len(DATA)}"})

    world.remote.hook = hook
    with pytest.raises(RegistryError, match="more bytes than were asked for"):
        await world.pull()
    path = world.store.blobs.path(layer["digest"])
    assert path.with_name(path.name + "-partial").stat().st_size == len(DATA)


async def test_too_few_bytes(world: World, layer: dict) -> None:
    world.remote.blobs[layer["digest"]] = DATA[:300_000]
    with pytest.raises(RegistryError, match=r"has 300000 bytes, but its manifest says 450000"):
        await world.pull()


@pytest.mark.parametrize("shift", [-1, 1, 50_000])
async def test_another_range_than_was_asked_for(world: World, layer: dict, shift: int) -> None:
    """model-store 64: nothing of it is written"""

    def hook(asked: Asked) -> Answer | None:
        if not is_blob(asked) or asked.span is None:
            return None
        begin, end = (at + shift for at in asked.span)
        return Answer(206, DATA[begin:end], {"Content-Range": f"bytes {begin}-{end - 1}/{len(DATA)}"})

    world.remote.hook = hook
    with pytest.raises(RegistryError, match=r"max retries exceeded: .* another range"):
        await world.pull()
    assert world.registry.downloads.list()[0].completed == 0


async def test_another_digest_is_announced(world: World, layer: dict) -> None:
    def hook(asked: Asked) -> Answer | None:
        if not is_blob(asked) or asked.span is None:
            return None
        answer = world.remote.ranged(asked, DATA)
        answer.headers["Docker-Content-Digest"] = digest_of(b"other")
        return answer

    world.remote.hook = hook
    with pytest.raises(RegistryError, match="offers another file"):
        await world.pull()


# ---- connections ---------------------------------------------------------------------------------------------------


async def test_connections_that_break_off_again_and_again(world: World, layer: dict) -> None:
    """As long as bytes come nobody gives up, however often it takes."""

    def hook(asked: Asked) -> Answer | None:
        if not is_blob(asked):
            return None
        answer = world.remote.ranged(asked, world.remote.blobs[layer["digest"]])
        answer.breaks_after = 9_000
        return answer if asked.path.endswith(layer["digest"]) else None

    world.remote.hook = hook
    await world.pull()
    assert world.blob(layer["digest"]) == DATA
    asked = world.remote.blob_requests(layer["digest"])
    assert len(asked) > 4 * 9  # each part far more often than the retries allow
    assert len({a.span for a in asked}) == len(asked)  # and no byte twice


async def test_a_stalled_line_is_asked_again(world: World, layer: dict) -> None:
    """model-store 61: silence in the middle costs no attempt"""
    seen: dict[int, int] = {}

    def hook(asked: Asked) -> Answer | None:
        if not is_blob(asked) or not asked.path.endswith(layer["digest"]) or asked.span is None:
            return None
        part = asked.span[0] // PART_BYTES
        seen[part] = seen.get(part, 0) + 1
        answer = world.remote.ranged(asked, DATA)
        answer.stalls_after = 12_000 if seen[part] < 8 else None
        return answer

    world.remote.hook = hook
    await world.pull()
    assert world.blob(layer["digest"]) == DATA
    assert max(seen.values()) == 8  # more than the six attempts that failures have


async def test_nothing_but_failures(world: World, layer: dict) -> None:
    """model-store 62: six of them without a byte between are the end"""
    world.remote.hook = lambda asked: Answer(503, b"busy") if is_blob(asked) else None
    world.limits.change(parts=1)
    with pytest.raises(RegistryError, match=r"^max retries exceeded: 503: busy$"):
        await world.pull()
    assert len(world.remote.blob_requests()) == 6


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
async def test_a_busy_registry_is_asked_later(world: World, layer: dict, status: int) -> None:
    asked_at: list[float] = []

    def hook(asked: Asked) -> Answer | None:
        if is_blob(asked) and len(asked_at) < 3:
            asked_at.append(0.0)
            return Answer(status, b"later", {"Retry-After": "0"})
        return None

    world.remote.hook = hook
    await world.pull()
    assert world.blob(layer["digest"]) == DATA


@pytest.mark.parametrize("status", [400, 403, 404, 410, 451])
async def test_a_refusal_is_not_repeated(world: World, layer: dict, status: int) -> None:
    world.limits.change(parts=1)
    world.remote.hook = lambda asked: Answer(status, b"no") if is_blob(asked) else None
    with pytest.raises(RegistryError, match=r"file does not exist" if status == 404 else f"{status}: no"):
        await world.pull()
    assert len(world.remote.blob_requests()) == 1


# ---- ranges --------------------------------------------------------------------------------------------------------


async def test_a_registry_without_ranges(world: World, layer: dict) -> None:
    """model-store 63, 64: a whole file is never written where a part was asked for; it then comes in one piece, and a
    break does not lose what is there"""
    breaks = iter([60_000, 200_000])

    def hook(asked: Asked) -> Answer | None:
        if not is_blob(asked) or not asked.path.endswith(layer["digest"]):
            return None
        if asked.span and asked.span[1] - asked.span[0] <= PART_BYTES and asked.span[0]:
            return Answer(body=DATA)
        is_single = asked.span is not None and asked.span[1] == len(DATA)
        return Answer(body=DATA, breaks_after=next(breaks, None) if is_single else None)

    world.remote.hook = hook
    await world.pull()
    assert world.blob(layer["digest"]) == DATA


async def test_a_file_that_is_replaced_meanwhile(world: World, layer: dict) -> None:
    """`If-Range` tells before bytes of two files mix; the digest decides in the end."""
    world.remote.etag = '"one"'
    world.limits.change(parts=1)

    def hook(asked: Asked) -> Answer | None:
        if is_blob(asked) and asked.span and asked.span[0] == 2 * PART_BYTES and world.remote.etag == '"one"':
            world.remote.etag = '"two"'
        return None

    world.remote.hook = hook
    await world.pull()
    assert world.blob(layer["digest"]) == DATA
    asked = [a for a in world.remote.blob_requests(layer["digest"]) if a.span]
    assert [a.headers.get("if-range") for a in asked] == [None, '"one"', '"one"', None, '"two"', '"two"']
    assert asked[2].span == asked[3].span


# ---- redirects -----------------------------------------------------------------------------------------------------


async def test_a_redirect_to_another_host_gets_no_token(world: World, layer: dict) -> None:
    """model-store 63: and its address is asked for once, not for every part"""
    async with hostile_registry() as store:
        store.blobs = world.remote.blobs
        protect(world.remote)
        allowed = world.remote.hook

        def hook(asked: Asked) -> Answer | None:
            refusal = allowed(asked)
            if refusal is None and is_blob(asked):
                return Answer(307, headers={"Location": f"{store.url}{asked.path}?signature=secret"})
            return refusal

        world.remote.hook = hook
        world.limits.change(parts=1)
        await world.pull()
        assert world.blob(layer["digest"]) == DATA
        assert len(world.remote.blob_requests(layer["digest"])) == 1
        assert len(store.blob_requests(layer["digest"])) == 5
        assert all("authorization" not in asked.headers for asked in store.asked)
        assert all("signature=secret" in asked.target for asked in store.asked)


async def test_a_link_that_expires_in_the_middle(world: World, layer: dict) -> None:
    """A new one is asked for, and may lead somewhere else; nothing begins again from zero."""
    async with hostile_registry() as one, hostile_registry() as two:
        one.blobs = two.blobs = world.remote.blobs
        one.hook = lambda asked: Answer(403, b"expired") if len(one.asked) > 2 else None
        places = iter([one, two])

        def hook(asked: Asked) -> Answer | None:
            if is_blob(asked) and asked.path.endswith(layer["digest"]):
                return Answer(307, headers={"Location": f"{next(places).url}{asked.path}"})
            return None

        world.remote.hook = hook
        world.limits.change(parts=1)
        await world.pull()
        assert world.blob(layer["digest"]) == DATA
        spans = [a.span for a in (*one.asked[:2], *two.asked)]
        assert spans == sorted(set(spans))  # every part once


@pytest.mark.parametrize(
    "target", ["http://169.254.169.254/latest", "http://10.0.0.1/x", "http://[fe80::1]/x", "http://192.168.1.1:80/x"]
)
async def test_a_redirect_into_a_private_network_is_not_followed(world: World, layer: dict, target: str) -> None:
    world.remote.hook = lambda asked: Answer(307, headers={"Location": target}) if is_blob(asked) else None
    with pytest.raises(AddressRefused, match="PUNA_REGISTRIES"):
        await world.pull()


@pytest.mark.parametrize(
    "target", ["", "file:///etc/passwd", "https:///x", "ftp://127.0.0.1/x", "http://u:p@127.0.0.1/"]
)
async def test_a_redirect_to_nowhere(world: World, layer: dict, target: str) -> None:
    world.remote.hook = lambda asked: Answer(307, headers={"Location": target}) if is_blob(asked) else None
    with pytest.raises(RegistryError, match="redirects to nowhere"):
        await world.pull()


async def test_a_circle_of_redirects(world: World, layer: dict) -> None:
    world.remote.hook = lambda asked: Answer(302, headers={"Location": asked.path})
    with pytest.raises(RegistryError, match=r"maximum redirects exceeded"):
        await world.pull()
    assert len(world.remote.asked) == 11


async def test_registries_of_this_machine_are_not_for_others(
    tmp_path: pathlib.Path, remote: HostileRegistry, layer: dict
) -> None:
    """A server that others can reach does not ask this machine's services in their name."""
    async with make_world(tmp_path, remote, trusts_loopback=False) as world:
        with pytest.raises(AddressRefused, match="PUNA_REGISTRIES"):
            await world.pull()
    assert not remote.asked


async def test_names_that_lead_to_this_machine_are_refused_when_they_are_dialled(remote: HostileRegistry) -> None:
    """What was looked up is what is dialled: a name cannot be harmless at the look and something else at the call."""
    network = CheckedNetwork(AddressPolicy(), is_local=False)
    with pytest.raises(AddressRefused):
        await network.connect_tcp("localhost", remote.port, timeout=5)
    listed = CheckedNetwork(AddressPolicy(("localhost",)), is_local=False)
    stream = await listed.connect_tcp("localhost", remote.port, timeout=5)
    await stream.aclose()


# ---- tokens --------------------------------------------------------------------------------------------------------


def protect(remote: HostileRegistry, realm: str = "", lives: int = 10**9) -> list[str]:
    """Ask for a token that is good for so many requests; the tokens given out."""
    given: list[str] = []
    used = 0

    def hook(asked: Asked) -> Answer | None:
        nonlocal used
        if asked.path == "/token":
            given.append(f"token{len(given)}")
            used = 0
            return Answer(body=json.dumps({"token": given[-1]}).encode())
        used += 1
        if given and asked.headers.get("authorization") == f"Bearer {given[-1]}" and used <= lives:
            return None
        where = realm or f"{remote.url}/token"
        challenge = f'Bearer realm="{where}",service="reg",scope="repository:lib/m:pull repository:lib/m:push"'
        return Answer(401, b"{}", {"WWW-Authenticate": challenge})

    remote.hook = hook
    return given


async def test_one_token_for_all(world: World, layer: dict) -> None:
    """model-store 46: one request for a token, one repetition"""
    given = protect(world.remote)
    await world.pull()
    assert given == ["token0"]
    assert [a.path for a in world.remote.asked[:3]] == [
        "/v2/lib/m/manifests/latest",
        "/token",
        "/v2/lib/m/manifests/latest",
    ]
    query = world.remote.asked[1].target.partition("?")[2]
    names = [pair.partition("=")[0] for pair in query.split("&")]
    assert names == ["nonce", "scope", "scope", "service", "ts"]


async def test_a_token_that_expires_in_the_middle(world: World, layer: dict) -> None:
    given = protect(world.remote, lives=3)
    world.limits.change(parts=2)
    await world.pull()
    assert world.blob(layer["digest"]) == DATA
    assert len(given) > 1
    spans = [a.span for a in world.remote.blob_requests(layer["digest"])]
    assert set(spans) == {(at, min(at + PART_BYTES, len(DATA))) for at in range(0, len(DATA), PART_BYTES)}


async def test_a_foreign_realm_hears_nothing(world: World, layer: dict) -> None:
    """model-store 48"""
    async with hostile_registry() as thief:
        protect(world.remote, realm=f"{thief.url}/token")
        with pytest.raises(RegistryError) as caught:
            await world.pull()
        assert str(caught.value) == (
            f'pull model manifest: realm host "{thief.host}" does not match original host "{world.remote.host}"'
        )
        assert not thief.asked


async def test_a_realm_on_the_way_of_a_redirect_hears_nothing(world: World, layer: dict) -> None:
    """Who a registry redirects to can ask for a token as much as it likes."""
    async with hostile_registry() as thief:
        protect(thief)
        world.remote.hook = lambda asked: (
            Answer(307, headers={"Location": f"{thief.url}{asked.path}"}) if is_blob(asked) else None
        )
        with pytest.raises(RegistryError, match="its link has expired"):
            await world.pull()
        assert all(asked.path != "/token" and "authorization" not in asked.headers for asked in thief.asked)


async def test_no_token_is_good_enough(world: World, layer: dict) -> None:
    """model-store 49"""
    given = protect(world.remote, lives=0)
    with pytest.raises(RegistryError, match=r"^pull model manifest: unauthorized: access denied$"):
        await world.pull()
    assert len(given) == 1


@pytest.mark.parametrize("body", [b"", b"[]", b'{"token":7}', b'{"token":"a\\nb"}', b"x" * 70_000, b"[" * 60_000])
async def test_answers_that_are_no_token(world: World, layer: dict, body: bytes) -> None:
    protect(world.remote)
    asking = world.remote.hook
    world.remote.hook = lambda asked: Answer(body=body) if asked.path == "/token" else asking(asked)
    with pytest.raises(RegistryError, match=r"sent no token|sent more than"):
        await world.pull()


async def test_other_kinds_of_authentication(world: World, layer: dict) -> None:
    world.remote.hook = lambda _: Answer(401, b"{}", {"WWW-Authenticate": 'Basic realm="x"'})
    with pytest.raises(RegistryError, match=r"unauthorized: access denied"):
        await world.pull()


# ---- manifests -----------------------------------------------------------------------------------------------------


async def test_refusals_of_a_manifest(world: World) -> None:
    """model-store 50, native-api 285, cli 40"""
    with pytest.raises(RegistryError, match=r"^pull model manifest: file does not exist$"):
        await world.pull()
    world.remote.hook = lambda _: Answer(412, b"this model needs a newer version")
    with pytest.raises(RegistryError, match=r"^pull model manifest: 412: this model needs a newer version$"):
        await world.pull()


def manifest_with(**layer: object) -> bytes:
    entry = {"mediaType": "application/vnd.ollama.image.model", "digest": digest_of(b"x"), "size": 1, **layer}
    config = {"mediaType": "application/vnd.docker.container.image.v1+json", "digest": digest_of(b"{}"), "size": 2}
    return json.dumps({"schemaVersion": 2, "config": config, "layers": [entry]}).encode()


HEX = digest_of(b"x")[7:]


@pytest.mark.parametrize(
    "data",
    [
        manifest_with(digest="sha256:../../../../etc/passwd"),
        manifest_with(digest=f"sha256:{HEX}/../x"),
        manifest_with(digest=f"sha256:{HEX}\n"),
        manifest_with(digest=f"sha256:{HEX.upper()}"),
        manifest_with(digest=f"sha256-{HEX}"),
        manifest_with(digest=""),
        manifest_with(digest="sha512:" + "0" * 128),
        manifest_with(size=-1),
        manifest_with(size=2**60),
        manifest_with(size=1.5),
        manifest_with(mediaType="application/vnd.ollama.image.system", size=2**40),
        b'{"layers":' + b"[" * 100_000,
        b'{"layers":[' + b",".join([b"{}"] * 1_000_000) + b"]}",
        b" " * (4 * 1024 * 1024 + 1),
        b"",
        b"null",
        b"<html>",
        b'{"schemaVersion":2,"layers":[]}',
        b'{"schemaVersion":2,"manifests":[]}',
        json.dumps(
            {"layers": [{"digest": digest_of(b"x"), "size": 1}, {"digest": digest_of(b"x"), "size": 2}]}
        ).encode(),
    ],
    ids=lambda data: f"{len(data)}",
)
async def test_manifests_that_are_none(world: World, data: bytes) -> None:
    """model-store 70: refused before a path is made of anything in them"""
    world.remote.manifests["/v2/lib/m/manifests/latest"] = data
    with pytest.raises(PunaError, match=r"^(pull model manifest|this is a list)"):
        await world.pull()
    assert world.files == []
    assert len(world.remote.asked) == 1


async def test_tensors_are_for_another_engine(world: World) -> None:
    """model-store 71"""
    data = manifest_with(mediaType="application/vnd.ollama.image.tensor")
    world.remote.manifests["/v2/lib/m/manifests/latest"] = data
    with pytest.raises(Unsupported, match=r"^this model requires MLX support, but the MLX runtime is not available$"):
        await world.pull()
