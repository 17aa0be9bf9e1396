"""The questions and answers that the starter model learns: the files in `topics/`.

A line is a comment (`#`), a topic's name (`@`), its answer (`=`), a wording that training never sees (`!`), or a
wording. In a wording `{a|b}` means a or b and `~` stands for words that nobody knows.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

TOPICS_FOLDER = Path(__file__).parent / "topics"
ELSEWHERE = "elsewhere"  # the topic of everything that is not about Puna
MAX_QUESTION_CHARACTERS = 240  # the chat template cuts there
# Whole documents, and text that plays with control tokens, are no questions about Puna; so small a model would find
# some word of Puna's in them and answer to that. The chat template reads them as this question.
FAR_FROM_PUNA = "what is the capital of france?"

_CHOICE = re.compile(r"\{([^{}]*\|[^{}]*)\}")
_NOT_WORDS = re.compile(r"[^\w]+", re.UNICODE)


@dataclass(frozen=True)
class Topic:
    name: str
    answer: str
    wordings: tuple[str, ...]
    held_out: tuple[str, ...]


@dataclass
class _Draft:
    name: str
    answer: str = ""
    wordings: list[str] = field(default_factory=list)
    held_out: list[str] = field(default_factory=list)


def read_topics(folder: Path = TOPICS_FOLDER) -> tuple[Topic, ...]:
    """All topics, files and topics in a fixed order. Raises ValueError for a topic without answer or told twice."""
    drafts: list[_Draft] = []
    for path in sorted(folder.glob("*.txt")):
        drafts += _read_file(path)
    names = [draft.name for draft in drafts]
    for draft in drafts:
        if not draft.answer or names.count(draft.name) > 1:
            raise ValueError(f"topic {draft.name} has no answer or stands there twice")
    return tuple(Topic(d.name, d.answer, tuple(d.wordings), tuple(d.held_out)) for d in drafts)


def _read_file(path: Path) -> list[_Draft]:
    drafts: list[_Draft] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        mark, text = line[:1], line[1:].strip()
        if mark == "@":
            drafts.append(_Draft(text))
        elif mark == "=":
            drafts[-1].answer = text
        elif mark == "!":
            drafts[-1].held_out.append(text)
        elif mark not in ("#", ""):
            drafts[-1].wordings.append(line.strip())
    return drafts


def expansions(wording: str) -> Iterator[str]:
    """Every sentence that a wording with choices stands for."""
    parts = _CHOICE.split(wording)  # text, choices, text, choices, ..., text
    choices = [part.split("|") if index % 2 else [part] for index, part in enumerate(parts)]
    for combination in itertools.product(*choices):
        yield " ".join("".join(combination).split())


def prepared(question: str) -> str:
    """What the chat template makes of a user's text before the model reads it."""
    return question.strip().lower().replace("<", " ")[:MAX_QUESTION_CHARACTERS]


def normalised(text: str) -> str:
    """Words in lower case with one blank between them: two wordings that agree here count as one."""
    return _NOT_WORDS.sub(" ", text.lower()).strip()
