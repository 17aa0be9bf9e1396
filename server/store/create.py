"""`POST /api/create`: a base, the texts of the request over it, a config, and a manifest last of all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from server.errors import InvalidRequest, PunaError, StoreError
from server.messages.chat import Progress
from server.messages.names import ModelName
from server.messages.options import read_options
from server.store import encoding, manifest
from server.store.conversion import WORK_DIGEST
from server.store.create_base import Base, Part, adapter_parts, draft_parts, find_base
from server.store.create_request import CreateRequest, quantization_type
from server.store.gguf import GgufHeader
from server.store.gguf_tables import UNKNOWN_FILE_TYPE, parameter_size
from server.store.manifest import CONFIG_TYPE, Config, DraftConfig, Layer, Manifest
from server.store.quantize import check_source, quantize

if TYPE_CHECKING:
    from server.store.store import Store

# Families whose prompts and answers need more than a template: renderer, parser, and where an answer ends.
_FAMILY_DEFAULTS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "gemma4": ("gemma4", "gemma4", ("<turn|>",)),
    "laguna": ("laguna", "laguna", ()),
    "nemotron_h": ("nemotron-3-nano", "nemotron-3-nano", ()),
    "nemotron_h_moe": ("nemotron-3-nano", "nemotron-3-nano", ()),
    "nemotron_h_omni": ("nemotron-3-nano", "nemotron-3-nano", ()),
}
_MESSAGE_KEYS = ("thinking", "images", "tool_calls", "tool_name", "tool_call_id")
_TEMPLATES = (manifest.TEMPLATE, manifest.PROMPT)


class Detected(Protocol):
    """A template that a model file's own one stands for."""

    @property
    def name(self) -> str: ...
    @property
    def template(self) -> str: ...
    @property
    def stop(self) -> tuple[str, ...]: ...


class Creation:
    """One create, from request to manifest."""

    def __init__(
        self,
        store: Store,
        request: CreateRequest,
        report: Callable[[Progress], None],
        check_template: Callable[[str], object],
        detect_template: Callable[[str], Detected | None] = lambda _: None,
    ) -> None:
        self._store = store
        self._request = request
        self._report = report
        self._check_template = check_template
        self._made: dict[str, int] = {}
        self._detect_template = detect_template
        self._detected: Detected | None = None

    def run(self) -> None:
        """Raises PunaErrors; nothing is stored under the name then, and what it held stays."""
        try:
            self._run()
        finally:
            self._discard()

    def _run(self) -> None:
        request = self._request
        name = self.check()
        base = find_base(self._store, request, self._report)
        parts = base.parts + adapter_parts(self._store, request.adapters or {}, base, self._report)
        if request.draft_files:
            draft_type = quantization_type(request.draft_quantize)
            parts += draft_parts(self._store, request.draft_files, self._report, draft_type)
        for part in parts:
            self._remember(part.layer.digest, part.is_new)
        self._detect(parts)
        parts = self._quantized(parts)
        config = self._config(base.config, parts)
        texts = [] if config.remote_host else list(self._texts(base, parts, config))
        kept = () if config.remote_host else self._kept(parts)
        with self._store.changing():
            layers = [*self._existing(kept), *(self._stored(*text) for text in texts)]
            data = config.encode()
            digest, is_new = self._store.blobs.write(data)
            self._remember(digest, is_new)
            self._report(Progress(status="writing manifest"))
            settings = Layer(media_type=CONFIG_TYPE, digest=digest, size=len(data))
            self._store.replace(name, Manifest(config=settings, layers=tuple(layers)))
        self._report(Progress(status="success"))

    def check(self) -> ModelName:
        """The name of what is made. Raises what can be said before anything is read or written."""
        request = self._request
        request.check()
        name = self._store.resolve(request.name_text)
        request.check_info()
        self._check_texts()
        return name

    def _check_texts(self) -> None:
        request = self._request
        if request.template:
            try:
                self._check_template(request.template)
            except PunaError as error:
                raise InvalidRequest(f"template error: {error}", log=error.log) from error
        read_options(_listed_stops(request.parameters))

    def _detect(self, parts: tuple[Part, ...]) -> None:
        """Files often carry a published chat template that is known by a name, and then where answers end is known."""
        if self._request.base or self._request.remote_host:
            return
        found = (part.header.chat_template for part in parts if part.layer.media_type == manifest.MODEL and part.header)
        self._detected = next(filter(None, map(self._detect_template, filter(None, found))), None)
        if self._detected:
            self._report(Progress(status=f"using autodetected template {self._detected.name}"))

    # ---- weights ---------------------------------------------------------------------------------------------------

    def _quantized(self, parts: tuple[Part, ...]) -> tuple[Part, ...]:
        """What can be said against it is said before the long work begins."""
        wanted = {
            manifest.MODEL: self._request.quantization_type,
            manifest.DRAFT: quantization_type(self._request.draft_quantize),
        }
        plans = [(part, _target(part, wanted.get(part.layer.media_type, ""))) for part in parts]
        if wanted[manifest.MODEL] and not any(part.layer.media_type == manifest.MODEL for part in parts):
            raise InvalidRequest(
                "there is nothing to quantize: neither 'from' nor 'files' holds the weights of a model"
            )
        return tuple(self._quantized_part(part, target) if target else part for part, target in plans)

    def _quantized_part(self, part: Part, wanted: str) -> Part:
        assert part.header is not None
        status = f"quantizing {part.header.file_type} model to {wanted}"

        def tell(done: int, total: int) -> None:
            self._report(Progress(status=status, digest=WORK_DIGEST, total=total, completed=done))

        made = quantize(self._store.blobs, part.header, wanted, tell)
        self._report(Progress(status="verifying conversion"))
        layer = Layer(media_type=part.layer.media_type, digest=made.digest, size=made.header.file_size)
        self._remember(layer.digest, made.is_new)
        return Part(layer, made.header, made.is_new)

    def _remember(self, digest: str, is_new: bool) -> None:
        """A blob that goes again where no manifest comes to name it."""
        if is_new or digest in self._made:
            self._made[digest] = self._store.blobs.modified_ns(digest)

    def _discard(self) -> None:
        """Of what this creation made, what nothing needs: the source of a quantization, or all of it after a failure.
        A blob that someone else has touched since is theirs to use."""
        mine = {digest for digest, moment in self._made.items() if self._store.blobs.modified_ns(digest) == moment}
        if mine:
            with self._store.changing():
                self._store.release(mine)

    # ---- layers ----------------------------------------------------------------------------------------------------

    def _kept(self, parts: tuple[Part, ...]) -> tuple[Part, ...]:
        """The layers that the request does not replace. Parameters always move behind the texts."""
        replaced = {manifest.PARAMS}
        replaced |= set(_TEMPLATES) if self._request.template else set()
        replaced |= {manifest.SYSTEM} if self._request.system else set()
        replaced |= {manifest.MESSAGES} if self._request.messages else set()
        return tuple(part for part in parts if part.layer.media_type not in replaced)

    def _existing(self, parts: tuple[Part, ...]) -> list[Layer]:
        """Touch the blobs, so that no sweep takes them before the manifest names them."""
        for part in parts:
            if not self._store.blobs.touch(part.layer.digest):
                raise StoreError(
                    "a part of the base model is missing from the model folder; pull or create the base again"
                )
            self._remember(part.layer.digest, part.is_new)
            self._report(Progress(status=f"{_origin(part.is_new)} layer {part.layer.digest}"))
        return [part.layer for part in parts]

    def _texts(self, base: Base, parts: tuple[Part, ...], config: Config) -> list[tuple[str, bytes]]:
        """The new text layers in their order."""
        request = self._request
        template = request.template or (self._detected.template if self._detected else "")
        texts = [(manifest.TEMPLATE, template.encode()), (manifest.SYSTEM, request.system.encode())]
        texts += [(manifest.LICENSE, text.encode()) for text in request.licenses]
        if params := self._params(base, config):
            texts.append((manifest.PARAMS, _encoded(params)))
        if request.messages:
            texts.append((manifest.MESSAGES, _encoded([_message(message) for message in request.messages])))
        return [(media_type, data) for media_type, data in texts if data]

    def _params(self, base: Base, config: Config) -> dict[str, Any]:
        detected = {"stop": list(self._detected.stop)} if self._detected else {}
        params = {**detected, **base.params, **_listed_stops(self._request.parameters)}
        stop = _FAMILY_DEFAULTS.get(config.model_family, ("", "", ()))[2]
        if stop and "stop" not in params:
            params["stop"] = list(stop)
        return {key: params[key] for key in sorted(params)}

    def _stored(self, media_type: str, data: bytes) -> Layer:
        digest, is_new = self._store.blobs.write(data)
        self._remember(digest, is_new)
        self._report(Progress(status=f"{_origin(is_new)} layer {digest}"))
        return Layer(media_type=media_type, digest=digest, size=len(data))

    # ---- config ----------------------------------------------------------------------------------------------------

    def _config(self, base: Config, parts: tuple[Part, ...]) -> Config:
        """What the files say, then what the request says over it."""
        request, info = self._request, self._request.info
        headers = [part.header for part in parts if part.layer.media_type == manifest.MODEL]
        known = [header for header in headers if header is not None]
        config = _described(base, known[-1], [header.architecture for header in known]) if known else base
        defaults = _FAMILY_DEFAULTS.get(config.model_family, ("", "", ()))
        family = info.get("model_family", "")
        return msgspec.structs.replace(
            config,
            renderer=request.renderer or base.renderer or defaults[0],
            parser=request.parser or base.parser or defaults[1],
            requires=request.requires or base.requires,
            capabilities=tuple(info.get("capabilities", ())) or base.capabilities,
            model_family=family or config.model_family,
            model_families=_families(family, config.model_families),
            model_type=info.get("parameter_size") or config.model_type,
            file_type=info.get("quantization_level") or config.file_type,
            base_name=info.get("base_name") or config.base_name,
            context_length=int(info.get("context_length", 0)) or config.context_length,
            embedding_length=int(info.get("embedding_length", 0)) or config.embedding_length,
            draft=_draft(parts) or base.draft,
        )


def _origin(is_new: bool) -> str:
    return "creating new" if is_new else "using existing"


def _target(part: Part, wanted: str) -> str:
    """The type that a part is to be quantized to, "" where there is nothing to do. Raises InvalidRequest."""
    if not wanted or part.header is None:
        return ""
    return wanted if check_source(part.header, wanted, is_draft=part.layer.media_type == manifest.DRAFT) else ""


def _described(base: Config, header: GgufHeader, families: list[str]) -> Config:
    return msgspec.structs.replace(
        base,
        model_format=base.model_format or "gguf",
        model_family=header.architecture,
        model_families=tuple(families),
        model_type=parameter_size(header.parameter_count),
        file_type=header.file_type if header.file_type != UNKNOWN_FILE_TYPE else base.file_type or UNKNOWN_FILE_TYPE,
    )


def _families(named: str, detected: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if not named:
        return detected
    return (named, *(family for family in detected or () if family != named))


def _draft(parts: tuple[Part, ...]) -> DraftConfig | None:
    for part in parts:
        if part.layer.media_type == manifest.DRAFT and part.header is not None:
            return DraftConfig(model_format="gguf", architecture=part.header.architecture)
    return None


def _listed_stops(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Without nulls; one stop string becomes a list of one. Names that nobody knows are kept, as they always were."""
    listed = {key: value for key, value in parameters.items() if value is not None}
    if isinstance(listed.get("stop"), str):
        listed["stop"] = [listed["stop"]]
    return listed


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    role, content = message.get("role"), message.get("content")
    if not isinstance(role, str) or not isinstance(content or "", str):
        raise InvalidRequest('each of "messages" needs a "role" and a "content" that are texts')
    more = {key: message[key] for key in _MESSAGE_KEYS if message.get(key)}
    return {"role": role.lower(), "content": content or "", **more}


def _encoded(value: Any) -> bytes:
    try:
        return encoding.encode(value)
    except ValueError as error:
        raise InvalidRequest(f"the request cannot be stored: {error}") from error
