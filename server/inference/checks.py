"""What is refused before a model is loaded, in the order in which clients have come to expect it."""

from __future__ import annotations

import msgspec

from server.errors import Forbidden, InvalidRequest, ModelNotFound, Unsupported
from server.inference import lookup
from server.inference.catalog import Entry
from server.messages.chat import GenerationRequest
from server.messages.frames import Loaded
from server.messages.media import kind_of_sound
from server.prompts.chat import Prompt

_IMAGE, _AUDIO = "image", "audio"


def with_think(request: GenerationRequest, entry: Entry) -> GenerationRequest:
    """The request with `think` as templates and parsers shall see it: a model that can think does so unless told not
    to."""
    think = request.think
    if entry.choice.is_harmony and think == "max":
        think = "high"
    if think is None and entry.choice.can_think:
        think = True
    return request if think == request.think else msgspec.structs.replace(request, think=think)


def check_source(request: GenerationRequest, entry: Entry) -> None:
    """The same for the model of a request."""
    check_local(request.model, entry)


def check_local(name: str, entry: Entry) -> None:
    """A model that lives on another server cannot be asked from here. `name` is as it was sent."""
    if entry.model.is_remote:
        if lookup.is_local(name):
            raise ModelNotFound(f"model '{name}' not found")
        raise Forbidden(lookup.CLOUD_DISABLED)


def check(request: GenerationRequest, entry: Entry) -> None:
    """Whether the model can do what is asked. Raises InvalidRequest and its kin."""
    can = entry.capabilities
    if not request.is_chat and "image" in can:
        raise Unsupported("image generation models are not currently supported")
    if request.raw and (request.template or request.system or request.context):
        raise InvalidRequest("raw mode does not support template, system, or context")
    if request.think and not entry.choice.can_think:
        raise Unsupported(f'"{request.model}" does not support thinking')
    if "completion" not in can:
        raise Unsupported(f'"{request.model}" does not support {"chat" if request.is_chat else "generate"}')
    if request.suffix and "insert" not in can:
        raise Unsupported(f"{entry.model.name.full} does not support insert")
    if request.tools and "tools" not in can:
        raise Unsupported(f"{entry.model.name.full} does not support tools")


def media_of(request: GenerationRequest) -> tuple[bytes, ...]:
    """The images and sounds of a request."""
    return request.images + tuple(image for message in request.messages for image in message.images)


def check_media(request: GenerationRequest, entry: Entry) -> None:
    """Whether the model is one for the images and sounds of a request. Raises Unsupported."""
    for sense, ability in ((_IMAGE, "vision"), (_AUDIO, "audio")):
        if ability not in entry.capabilities and any(sense == _sense(data) for data in media_of(request)):
            raise _blind(sense, request.model, f"choose a model whose capabilities list {ability}.")


def check_loaded(name: str, prompt: Prompt, loaded: Loaded) -> None:
    """The same for what has reached the prompt, now that the model is loaded. `name` is as it was sent."""
    for sense, can in ((_IMAGE, loaded.can_see), (_AUDIO, loaded.can_hear)):
        if not can and any(sense == _sense(one.data) for one in prompt.media):
            raise _blind(sense, name, "create it again with a projector (an mmproj file) that reads this.")


def _sense(data: bytes) -> str:
    return _AUDIO if kind_of_sound(data) else _IMAGE


def _blind(sense: str, name: str, advice: str) -> Unsupported:
    return Unsupported(f'{sense} input is not supported by "{name}"; {advice}')  # clients search for the first words


def check_places(prompt: Prompt) -> None:
    """Whether all images and sounds have reached the prompt. Raises Unsupported."""
    lost = prompt.image_count - len(prompt.media)
    if lost:
        raise Unsupported(
            f"The model's chat template leaves out {lost} of {prompt.image_count} images: it does not print the "
            "messages that they are in. Send them in a user message."
        )
