"""What a new model is made from: an installed model, uploaded GGUF files, or the name of a model elsewhere."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from server.errors import InvalidGguf, InvalidRequest, ModelNotFound, NotImplementedYet, StoreError
from server.messages.chat import Progress
from server.messages.conversion import AdapterBase, OutputType
from server.messages.names import ModelName, split_source
from server.store import digests, manifest
from server.store.adapter import check_adapter
from server.store.conversion import WORK_DIGEST, convert_files
from server.store.create_request import CreateRequest
from server.store.files import store_errors
from server.store.foreign import as_loaded
from server.store.gguf import GgufHeader, read_header
from server.store.gguf_shape import check_loadable
from server.store.gguf_split import group_shards, join_shards, split_count
from server.store.manifest import Config, Layer

if TYPE_CHECKING:
    from server.store.store import Store

_KINDS = {"model": manifest.MODEL, "adapter": manifest.ADAPTER, "projector": manifest.PROJECTOR}
Report = Callable[[Progress], None]


@dataclass(frozen=True)
class Part:
    """A layer of the new model whose blob is stored already; `header` where it is a GGUF file. `is_new` where this
    creation made the blob."""

    layer: Layer
    header: GgufHeader | None = None
    is_new: bool = False


@dataclass(frozen=True)
class Base:
    """Layers in their order, the config they came with, and their parameters."""

    parts: tuple[Part, ...] = ()
    config: Config = field(default_factory=Config)
    params: Mapping[str, Any] = field(default_factory=dict)


def find_base(store: Store, request: CreateRequest, report: Report) -> Base:
    """Raises InvalidRequest, NotImplementedYet, StoreError."""
    if request.remote_host:
        return _remote_base(request)
    if request.base:
        return _model_base(store, request)
    if request.files is None:
        raise InvalidRequest("neither 'from' or 'files' was specified")
    parts = _file_parts(store, request.files, report, request.quantization_type)
    paths = {digests.normal(digest): path for path, digest in request.files.items()}
    for part in parts:
        if part.layer.media_type == manifest.ADAPTER:
            _check_adapter(paths.get(part.layer.digest, "the adapter"), part, parts)
    models = {part.layer.digest for part in parts if part.layer.media_type == manifest.MODEL}
    if len(models) > 1:
        names = ", ".join(sorted(path for path in request.files if path.endswith(".gguf")))
        raise InvalidRequest(f"{len(models)} of the files are models of their own ({names}); name one of them in FROM")
    return Base(parts, Config(model_format="gguf"))


def adapter_parts(store: Store, adapters: Mapping[str, str], base: Base, report: Report) -> tuple[Part, ...]:
    """Raises InvalidRequest, NotImplementedYet."""
    if any(path.endswith(".safetensors") for path in adapters):
        return (_converted_adapter(store, adapters, base, report),)
    if len(adapters) > 1:
        raise InvalidRequest("only one adapter is currently supported")
    parts = tuple(_file_part(store, path, digest, report) for path, digest in adapters.items())
    for path, part in zip(adapters, parts, strict=True):
        if part.layer.media_type != manifest.ADAPTER:
            raise InvalidRequest(f'"{path}" is a GGUF file but no LoRA adapter; name it in FROM instead of ADAPTER')
        _check_adapter(path, part, base.parts)
    return parts


def _check_adapter(path: str, part: Part, base: Sequence[Part]) -> None:
    """A file of the base that cannot be read has a sentence of its own, later."""
    models = [each.header for each in base if each.layer.media_type == manifest.MODEL]
    if not models:
        raise InvalidRequest(f'"{path}" is an adapter, and there is no base model for it; name the base in FROM')
    if part.header is not None and models[-1] is not None:
        check_adapter(path, part.header, as_loaded(models[-1]))


def draft_parts(store: Store, files: Mapping[str, str], report: Report, quantization: str) -> tuple[Part, ...]:
    """Raises InvalidRequest, NotImplementedYet."""
    parts = _file_parts(store, files, report, quantization)
    if [part.layer.media_type for part in parts] != [manifest.MODEL]:
        raise InvalidRequest("a DRAFT is one GGUF model; give a single file")
    draft = parts[0]
    layer = Layer(media_type=manifest.DRAFT, digest=draft.layer.digest, size=draft.layer.size)
    return (Part(layer, draft.header),)


# ---- an installed model --------------------------------------------------------------------------------------------


def missing_base(store: Store, request: CreateRequest) -> ModelName | None:
    """The model that is to be the base and is not installed; None where nothing can or need be fetched. Raises
    InvalidRequest."""
    source = split_source(request.base)
    if request.remote_host or not request.base or source.is_cloud:
        return None
    name = store.resolve(source.text)
    try:
        store.get(name)
    except ModelNotFound:
        return name
    except StoreError:
        pass  # damaged, which has a sentence of its own
    return None


def _model_base(store: Store, request: CreateRequest) -> Base:
    source = split_source(request.base)
    if source.is_cloud:
        raise NotImplementedYet("Puna runs models on this computer only; a cloud model cannot be the base of another")
    name = store.resolve(source.text)
    try:
        model = store.get(name)
    except ModelNotFound as error:
        raise ModelNotFound(
            f"the base model {name.short} is not installed; pull it first, then create again", log=error.log
        ) from None
    if model.is_remote:
        return Base((), model.config)
    parts = tuple(_model_part(store, layer, name) for layer in model.manifest.layers)
    return Base(parts, model.config, model.params)


def _model_part(store: Store, layer: Layer, name: ModelName) -> Part:
    if layer.media_type == manifest.TENSOR:
        raise NotImplementedYet(
            f"{name.short} is stored as single tensors for another engine; use a GGUF build of the model as the base"
        )
    taken = Layer(media_type=layer.media_type, digest=layer.digest, size=layer.size, source=name.short, name=layer.name)
    is_gguf = layer.media_type in (manifest.MODEL, manifest.PROJECTOR, manifest.ADAPTER, manifest.DRAFT)
    return Part(taken, store.headers.get(store.blobs.path(layer.digest)) if is_gguf else None)


# ---- uploaded files ------------------------------------------------------------------------------------------------


def _file_parts(store: Store, files: Mapping[str, str], report: Report, quantization: str = "") -> tuple[Part, ...]:
    """`quantization` is the type that the weights are going to get, "" where they stay as they are."""
    paths = {path: _uploaded(store, path, digest) for path, digest in files.items()}
    if any(path.endswith(".safetensors") for path in paths):
        part = _converted(store, paths, report, quantization)
        _check_model(part, report)
        return (part,)
    _refuse_pickles(store, paths)
    if not any(path.endswith(".gguf") or _has_magic(store, digest) for path, digest in paths.items()):
        raise InvalidRequest("unknown type")
    parts = {path: _file_part(store, path, paths[path], report) for path in sorted(paths)}
    whole = _joined(store, parts, report)
    for part in whole:
        _check_model(part, report, quantization)
    return whole


def _joined(store: Store, parts: Mapping[str, Part], report: Report) -> tuple[Part, ...]:
    """The parts of split models become one file each, behind those that came whole."""
    shards = {path: part.header for path, part in parts.items() if part.header and split_count(part.header) > 1}
    joined = [_joined_part(store, group, report) for group in group_shards(shards)]
    return (*(part for path, part in parts.items() if path not in shards), *joined)


def _joined_part(store: Store, shards: Sequence[GgufHeader], report: Report) -> Part:
    def tell(written: int, total: int) -> None:
        report(Progress(status="joining the parts of the model", digest=WORK_DIGEST, total=total, completed=written))

    with store_errors("join the parts of the model"):
        digest = join_shards(store.blobs, shards, tell)
        header = read_header(store.blobs.path(digest))
    return Part(Layer(media_type=_KINDS[header.kind], digest=digest, size=header.file_size), header, is_new=True)


def _converted(store: Store, paths: Mapping[str, str], report: Report, quantization: str) -> Part:
    """A folder of safetensors as one GGUF file. What is to be quantized keeps its own type till then."""
    wanted = quantization if quantization in ("F32", "F16", "BF16") else ""
    files = {path: store.blobs.path(digest) for path, digest in paths.items()}
    digest, is_new = convert_files(store.blobs, files, cast(OutputType, wanted), report)
    with store_errors("read the converted model"):
        header = read_header(store.blobs.path(digest))
    return Part(Layer(media_type=_KINDS[header.kind], digest=digest, size=header.file_size), header, is_new)


def _refuse_pickles(store: Store, paths: Mapping[str, str]) -> None:
    for path, digest in paths.items():
        if path.endswith((".bin", ".pth", ".pt")) and _begins_with(store, digest, b"PK\x03\x04"):
            raise InvalidRequest(
                f'"{path}" is a PyTorch archive, which can run any program when it is opened, so Puna does not open '
                "it; use the model's safetensors files"
            )


def _converted_adapter(store: Store, adapters: Mapping[str, str], base: Base, report: Report) -> Part:
    """A folder of a safetensors adapter as one GGUF file."""
    files = {path: store.blobs.path(_uploaded(store, path, digest)) for path, digest in adapters.items()}
    models = [part.header for part in base.parts if part.layer.media_type == manifest.MODEL]
    model = models[-1] if models else None
    if model is None:
        raise InvalidRequest("no base model was found for the adapter; name the base in FROM")
    heads = model.number("attention.head_count")
    key_heads = model.number("attention.head_count_kv") or heads
    known = AdapterBase(architecture=model.architecture, heads=heads, key_heads=key_heads)
    digest, is_new = convert_files(store.blobs, files, "", report, known)
    with store_errors("read the converted adapter"):
        header = read_header(store.blobs.path(digest))
    part = Part(Layer(media_type=_KINDS[header.kind], digest=digest, size=header.file_size), header, is_new)
    _check_adapter(next(path for path in adapters if path.endswith(".safetensors")), part, base.parts)
    return part


def _uploaded(store: Store, path: str, digest: str) -> str:
    """The digest in its usual form. Raises InvalidDigest, InvalidRequest."""
    usual = digests.normal(digest)
    if not store.blobs.touch(usual):
        raise InvalidRequest(f'"{path}" has not been uploaded; send it to /api/blobs/{usual} first')
    return usual


def _has_magic(store: Store, digest: str) -> bool:
    return _begins_with(store, digest, b"GGUF", b"FUGG")


def _begins_with(store: Store, digest: str, *marks: bytes) -> bool:
    try:
        with store.blobs.path(digest).open("rb") as file:
            return file.read(len(marks[0])) in marks
    except OSError:
        return False


def _file_part(store: Store, path: str, digest: str, report: Report) -> Part:
    digest = _uploaded(store, path, digest)
    if not _has_magic(store, digest):
        raise InvalidRequest("supplied file was not in GGUF format")
    report(Progress(status="parsing GGUF"))
    try:
        header = read_header(store.blobs.path(digest))
    except OSError as error:
        raise StoreError(f'"{path}" could not be read from the model folder', log=str(error)) from error
    except InvalidGguf as error:
        raise InvalidGguf(f'"{path}" cannot be used: {error}') from error
    layer = Layer(media_type=_KINDS[header.kind], digest=digest, size=header.file_size)
    return Part(layer, header)


def _check_model(part: Part, report: Report, quantization: str = "") -> None:
    header = part.header
    if header is None or part.layer.media_type != manifest.MODEL:
        return
    check_loadable(header)
    if not header.has_embedded_encoder and quantization in ("", header.file_type):
        size = part.layer.size
        report(Progress(status="validating GGUF model", digest=WORK_DIGEST, total=size, completed=size))
        report(Progress(status="verifying conversion"))


# ---- a model elsewhere ---------------------------------------------------------------------------------------------


def _remote_base(request: CreateRequest) -> Base:
    if request.draft_files:
        raise InvalidRequest("DRAFT cannot be used with remote models")
    source = split_source(request.base)
    ModelName.parse(source.text)
    return Base((), Config(remote_host=_remote_host(request.remote_host), remote_model=source.text))


def _remote_host(text: str) -> str:
    """With its scheme and port. Raises InvalidRequest."""
    given = text if "://" in text else f"//{text}"
    try:
        url = urlsplit(given)
        host, port = url.hostname or "", url.port
    except ValueError as error:
        raise InvalidRequest("bad remote") from error
    if not host or url.scheme not in ("", "http", "https") or any(sign.isspace() for sign in text):
        raise InvalidRequest("bad remote")
    is_public = host == "ollama.com"
    scheme = url.scheme or ("https" if is_public else "http")
    return f"{scheme}://{_bracketed(host)}:{port or (443 if is_public else 11434)}"


def _bracketed(host: str) -> str:
    try:
        return f"[{host}]" if ipaddress.ip_address(host).version == 6 else host
    except ValueError:
        return host
