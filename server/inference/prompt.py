"""The prompt of a request, fitted to what the loaded runner can hold."""

from __future__ import annotations

from server.errors import InvalidRequest
from server.inference.catalog import Entry
from server.messages.chat import GenerationRequest
from server.prompts import history
from server.prompts.chat import Prompt, Vocabulary, Window, fit_chat, fit_completion
from server.scheduler import Lease


async def build_prompt(request: GenerationRequest, entry: Entry, lease: Lease) -> Prompt:
    """Render the request in the model's template. Raises InvalidTemplate, InvalidRequest, RunnerDied."""
    model, runner, loaded = entry.model, lease.runner, lease.loaded

    async def count_tokens(text: str, cuts: tuple[int, ...]) -> int:
        return len(await runner.tokenize(text, cuts=cuts))

    async def count_all(prompt: Prompt) -> int:
        try:
            return await runner.count(prompt.text, cuts=prompt.cuts, media=prompt.media)
        except InvalidRequest:  # bytes that are no image: told when an answer is asked for, not where a prompt is shown
            return 0

    senses = loaded.can_see or loaded.can_hear
    if request.token_prompt:
        return Prompt(text=await runner.detokenize(request.token_prompt))
    window = Window(
        context_tokens=loaded.context_tokens,
        count_tokens=count_tokens,
        count_all=count_all if senses else None,
        truncate=request.truncate,
        has_projector=senses,
    )
    vocabulary = Vocabulary(loaded.bos_text, loaded.eos_text, loaded.control_texts)
    if not request.is_chat:
        context_text = await runner.detokenize(request.context) if request.context else ""
        return await fit_completion(
            entry.choice,
            request,
            window,
            system=model.system,
            stored=model.messages,
            context_text=context_text,
            think=request.think,
            vocabulary=vocabulary,
        )
    messages = history.prepare(
        request.messages,
        system=model.system,
        stored=model.messages,
        family=model.family,
        model_name=model.name.model,
    )
    return await fit_chat(entry.choice, messages, window, request.tools, request.think, vocabulary)


def may_be_cut(request: GenerationRequest, entry: Entry) -> bool:
    """Whether a prompt that is still too long loses its middle. A chat in the model's own template does not: the
    template's marks would be torn apart."""
    return request.truncate and not (request.is_chat and entry.choice.mode == "native")
