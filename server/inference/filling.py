"""The prompt that lets a model fill a gap in a file: what stands before it, what stands behind it, and other files.

Made of token ids, so that nothing in a file can be taken for a mark. The layout is the one that llama.cpp's server
writes: the repository's name and the other files, the text before the gap, the text behind it, the mark of the middle.
"""

from __future__ import annotations

import msgspec

from server.errors import Unsupported
from server.inference.catalog import Catalog
from server.inference.checks import check_local
from server.inference.lending import lend
from server.messages.chat import GenerationRequest
from server.messages.frames import FillTokens
from server.messages.options import read_options
from server.runner import Runner
from server.scheduler import Scheduler

WINDOW_TOKENS = 2048  # around the gap; three quarters of them before it
MARKS_TOKENS = 8  # at most so many of all kinds
REPOSITORY = "myproject\n"
FILE = "filename"
SNIPPET = "\n\n--- snippet ---\n\n"
Tokens = list[int]


class OtherFile(msgspec.Struct, frozen=True):
    text: str
    name: str = "tmp"


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """`others`: what else is known of the project, the most important last."""

    before: str
    behind: str
    others: tuple[OtherFile, ...] = ()


class Filling:
    """The gaps of all installed models that know how to fill one."""

    def __init__(self, catalog: Catalog, scheduler: Scheduler) -> None:
        self._catalog = catalog
        self._scheduler = scheduler

    async def prompt(self, request: GenerationRequest, gap: Gap) -> tuple[GenerationRequest, str]:
        """The request with its prompt, and that as text. What is too long loses what is farthest from the gap.

        Raises Unsupported for a model that has no marks of a gap, and what finding and loading it raises.
        """
        entry = await self._catalog.find(request.model, "chat")
        check_local(request.model, entry)
        options = read_options(entry.model.params, request.options)
        async with lend(self._scheduler, entry, options.runner) as lease:
            marks = lease.loaded.fill
            check_marks(marks)
            room = lease.loaded.context_tokens
            tokens = await _tokens(lease.runner, marks, gap, room, max(options.sampling.num_predict, 0))
            text = await lease.runner.detokenize(tokens)
        return msgspec.structs.replace(request, token_prompt=tuple(tokens)), text


def check_marks(marks: FillTokens) -> None:
    names = {"prefix": marks.before, "suffix": marks.behind, "middle": marks.middle}
    missing = [f"{name} token is missing." for name, token in names.items() if token < 0]
    if missing:
        raise Unsupported(
            f"Infill is not supported by this model: {' '.join(missing)} Use a code model that was made to fill gaps."
        )


async def _tokens(runner: Runner, marks: FillTokens, gap: Gap, room: int, answer_tokens: int) -> Tokens:
    """`room`: the tokens of the context, of which the answer shall have `answer_tokens`."""
    window = min(WINDOW_TOKENS, max(room * 3 // 4 - MARKS_TOKENS, 4))
    before = (await _plain(runner, gap.before))[-(window * 3 // 4) :]
    behind = (await _plain(runner, gap.behind))[: window // 4]
    start = list(await runner.tokenize("", add_special=True))
    front = await _front(runner, marks, gap.others)
    taken = max(room - max(window, len(before) + len(behind)) - MARKS_TOKENS - 2 * answer_tokens, 0)
    front = front[-taken:] if taken else []
    return [*start, *front, marks.before, *before, marks.behind, *behind, marks.middle]


async def _front(runner: Runner, marks: FillTokens, others: tuple[OtherFile, ...]) -> Tokens:
    """The other files, and the name of this one, where the model has marks for files."""
    found: Tokens = []
    if marks.repository >= 0:
        found += [marks.repository, *await _plain(runner, REPOSITORY)]
    for other in others:
        if marks.separator >= 0:
            found += [marks.separator, *await _plain(runner, f"{other.name}\n")]
        else:
            found += await _plain(runner, SNIPPET)
        found += await _plain(runner, other.text)
    if marks.separator >= 0:
        found += [marks.separator, *await _plain(runner, f"{FILE}\n")]
    return found


async def _plain(runner: Runner, text: str) -> Tokens:
    return list(await runner.tokenize(text, parse_special=False)) if text else []
