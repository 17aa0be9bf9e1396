"""The installed models, each with the template it is asked in and what it can do."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import anyio.to_thread
import msgspec

from server.errors import Forbidden, InvalidModelName, InvalidTemplate, ModelNotFound, PunaError
from server.inference import lookup
from server.inference.cards import Card, card_of
from server.inference.lookup import Endpoint
from server.messages.models import ModelSpec, RunningModel
from server.messages.names import ModelName
from server.prompts.aliases import resolve
from server.prompts.selection import TemplateChoice, TemplateFacts, select
from server.store import Model, Store
from server.store.foreign import is_foreign
from server.store.gguf import GgufHeader
from server.store.show import show_data

log = logging.getLogger(__name__)

STARTER = "puna-starter:latest"
REMEMBERED_DETAILS = 1000


class Entry(msgspec.Struct, frozen=True):
    """A model that can be asked."""

    model: Model
    choice: TemplateChoice

    @property
    def capabilities(self) -> tuple[str, ...]:
        return self.choice.capabilities

    @property
    def spec(self) -> ModelSpec:
        return self.model.spec()


class Catalog:
    """Names to entries. Everything that reads the disk runs in a worker thread.

    `go_template` is the setting OLLAMA_GO_TEMPLATE. `install_starter` brings the starter model into a folder that has
    not had it yet, when it is asked for by name. `aliases` are patterns of names that are not installed, each with the
    model that answers in their place; the first that fits counts.
    """

    def __init__(
        self,
        store: Store,
        go_template: bool | None = None,
        install_starter: Callable[[], bool] = lambda: False,
        aliases: Sequence[tuple[str, str]] = (),
    ) -> None:
        self.store = store
        self._aliases = aliases
        self._go_template = go_template
        self._install_starter = install_starter
        self._choices: dict[tuple[str, str], TemplateChoice] = {}  # by digest, and by renderer: a name may decide it
        self._details_of: dict[str, dict[str, Any]] = {}  # by digest; of models that have been asked

    # ---- one model -------------------------------------------------------------------------------------------------

    async def find(self, raw: str, endpoint: Endpoint) -> Entry:
        """The model that a request names. Raises what the endpoint's clients expect for a bad or unknown name."""
        return await anyio.to_thread.run_sync(self._find, raw, endpoint)

    def _find(self, raw: str, endpoint: Endpoint) -> Entry:
        name = lookup.requested_name(raw, endpoint)
        try:
            model = self._installed(name)
        except ModelNotFound as error:
            stand_in = self._stand_in(name)
            if stand_in is None:
                raise lookup.missing(raw, self.store.resolve(name.full), endpoint) from error
            model = stand_in
        path = model.model_path
        if endpoint != "show" and path is not None and not (path.is_file() or path.is_symlink()):
            raise lookup.without_weights(raw, path)  # of a link that leads nowhere its owner's sentence says more
        self._remember_details(model)
        if endpoint != "show":
            with contextlib.suppress(PunaError):  # told to those who ask for it
                model.spec()  # the first one may read much of the file's header, which is done here, in a thread
        return Entry(model, self._choice(model))

    def _stand_in(self, name: ModelName) -> Model | None:
        """The model that answers under this name, if one does."""
        spellings = {name.short, name.short.removesuffix(":latest")}
        for pattern, target in self._aliases:
            if any(fnmatchcase(spelling.lower(), pattern.lower()) for spelling in spellings):
                try:
                    return self._installed(ModelName.parse(target))
                except (ModelNotFound, InvalidModelName) as error:
                    log.warning("%s stands in for %s, but cannot be used: %s", target, name.short, error)
                    return None
        return None

    def _remember_details(self, model: Model) -> None:
        """A model that is loaded goes on to run, and to be listed, after it has been deleted or replaced."""
        if model.digest not in self._details_of:
            self._details_of[model.digest] = model.details()
            while len(self._details_of) > REMEMBERED_DETAILS:
                self._details_of.pop(next(iter(self._details_of)), None)

    def _installed(self, name: ModelName) -> Model:
        try:
            return self.store.get(self.store.resolve(name.full))
        except ModelNotFound:
            if name.short == STARTER and self._install_starter():
                return self.store.get(name)
            raise

    def _choice(self, model: Model) -> TemplateChoice:
        key = model.digest, renderer_of(model)
        known = self._choices.get(key)
        if known is None:
            try:
                known = select(facts_of(model), self._go_template)
            except InvalidTemplate as error:
                log.warning("the template of %s cannot be used: %s", model.name.short, error)
                known = select(msgspec.structs.replace(facts_of(model), go_text=None), self._go_template)
            if model.gguf is not None or model.model_path is None:  # a file that is gone may come back
                self._choices[key] = known
        return known

    async def show(
        self, raw: str, *, verbose: bool = False, system: str = "", options: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """The answer of `/api/show`."""

        def work() -> dict[str, Any]:
            entry = self._find(raw, "show")
            if entry.model.is_remote and not lookup.is_local(raw):
                raise Forbidden(lookup.CLOUD_DETAILS_DISABLED)
            choice = entry.choice
            template = choice.jinja_text if choice.mode == "native" and choice.jinja_text else choice.go_text
            return show_data(
                entry.model,
                capabilities=entry.capabilities,
                template=template,
                verbose=verbose,
                system=system,
                options=options,
            )

        return await anyio.to_thread.run_sync(work)

    # ---- all of them -----------------------------------------------------------------------------------------------

    async def tags(self) -> list[dict[str, Any]]:
        """The entries of `/api/tags`, newest first."""

        return await anyio.to_thread.run_sync(lambda: [self._tag(model) for model in self._all()])

    async def cards(self) -> list[Card]:
        """The same for other dialects."""
        return await anyio.to_thread.run_sync(
            lambda: [card_of(model, self._choice(model).capabilities) for model in self._all()]
        )

    def _all(self) -> list[Model]:
        models = self.store.list()
        digests = {model.digest for model in models}
        self._choices = {key: choice for key, choice in self._choices.items() if key[0] in digests}
        return models

    def _tag(self, model: Model) -> dict[str, Any]:
        tag: dict[str, Any] = {"name": model.name.short, "model": model.name.short}
        if model.is_remote:
            tag |= {"remote_model": model.config.remote_model, "remote_host": model.config.remote_host}
        tag |= {
            "modified_at": model.modified_at,
            "size": model.size,
            "digest": model.digest,
            "details": model.details(with_lengths=True),
        }
        if linked := model.linked:
            tag["linked"] = linked
        capabilities = self._choice(model).capabilities
        return tag | ({"capabilities": capabilities} if capabilities else {})

    async def running(self, models: Iterable[RunningModel]) -> list[dict[str, Any]]:
        """The entries of `/api/ps`, the one that stays longest first. A model that is still loading is not told."""

        def work() -> list[dict[str, Any]]:
            return [self._running(model) for model in models if model.state in ("ready", "draining")]

        return await anyio.to_thread.run_sync(work)

    def _running(self, running: RunningModel) -> dict[str, Any]:
        return {
            "name": running.name,
            "model": running.name,
            "size": running.size_bytes,
            "digest": running.digest,
            "details": self._details(running),
            "expires_at": running.expires_at,
            "size_vram": running.gpu_bytes,
            "context_length": running.context_tokens,
        }

    def _details(self, running: RunningModel) -> dict[str, Any]:
        """Those of the model that was loaded, whatever its name means now."""
        unknown = {"format": "gguf", "family": "", "families": None, "parameter_size": "", "quantization_level": ""}
        return {**self._details_of.get(running.digest, unknown), "parent_model": ""}


def facts_of(model: Model) -> TemplateFacts:
    """What template selection goes by."""
    header, projector = model.gguf, model.projector
    return TemplateFacts(
        renderer=renderer_of(model),
        parser=model.config.parser,
        go_text=model.template,
        jinja_text=header.chat_template if header else "",
        family=model.family,
        has_gguf=header is not None,
        has_pooling=header is not None and header.has_pooling,
        vision_blocks=header.number("vision.block_count") if header else 0,
        audio_blocks=header.number("audio.block_count") if header and not is_foreign(header) else 0,  # left out there
        has_projector=bool(model.projector_paths),
        audio_projector=projector is not None and _has_audio(projector),
        blind_projector=projector is not None and _has_audio(projector) and not _has_encoder(projector, "vision"),
        config_capabilities=tuple(model.config.capabilities or ()),
    )


def renderer_of(model: Model) -> str:
    """The renderer that the model's configuration names, "" for none."""
    return resolve(model.config.renderer, model.name.short, model.name.full, model.config.model_type)


def _has_audio(projector: GgufHeader) -> bool:
    is_gemma = projector.metadata.get("clip.vision.projector_type") == "gemma3nv"  # its audio part is not read
    return _has_encoder(projector, "audio") and not is_gemma


def _has_encoder(projector: GgufHeader, sense: str) -> bool:
    return any(key.endswith(f"has_{sense}_encoder") and value is True for key, value in projector.metadata.items())
