"""Many wordings of one question: other frames, synonyms, polite words, slips of the finger.

Rules only, no lists of sentences: what a wording means stays as it is.
"""

from __future__ import annotations

import re

from numpy.random import Generator

_ACTION = (
    "how do i {}", "how can i {}", "how to {}", "how would i {}", "how does one {}", "how should i {}",
    "i want to {}", "i would like to {}", "i'd like to {}", "i need to {}", "i have to {}", "i am trying to {}",
    "can i {}", "could i {}", "may i {}", "is it possible to {}", "is there a way to {}", "what is the way to {}",
    "what must i do to {}", "what do i do to {}", "what do i have to type to {}", "what is the command to {}",
    "which command lets me {}", "tell me how to {}", "show me how to {}", "explain how to {}", "steps to {}",
    "in what way can i {}", "do you know how to {}", "am i able to {}", "help me {}",
    "let me {}", "what are the steps to {}", "i do not know how to {}", "how do we {}", "how do you {}", "please {}",
)  # fmt: skip
_THING = (
    "what is {}", "what's {}", "what does {} mean", "explain {}", "tell me about {}", "define {}", "describe {}",
    "what exactly is {}", "what is meant by {}", "i do not know what {} is", "what do you call {}",
    "what good is {}", "what do i need {} for", "information about {}", "tell me what {} is", "so what is {}",
    "what about {}", "could you explain {}", "what is {} for",
)  # fmt: skip
_PLACE = (
    "where {0} {1}", "where do i find {1}", "where can i find {1}", "where can i see {1}", "where would i find {1}",
    "show me where {1} {0}", "location of {1}", "i am looking for {1}", "i cannot find {1}", "where on my disk {0} {1}",
    "on which path {0} {1}", "in which place {0} {1}", "tell me where {1} {0}", "where exactly {0} {1}",
)  # fmt: skip
_REASON = (
    "why {}", "how come {}", "what is the reason {}", "for what reason {}", "what can be wrong, {}", "tell me why {}",
    "i wonder why {}", "please explain why {}", "any idea why {}",
)  # fmt: skip
_SUPPORT = (
    "does puna support {}", "is there support for {}", "are {} supported", "is {} supported", "can puna do {}",
    "will {} work", "do {} work", "are {} possible", "can i use {}", "how about {}", "is {} available", "are there {}",
    "i want to use {}", "is {} possible", "i would like {}", "do you have {}", "may i use {}", "is it able to do {}",
)  # fmt: skip
_FRAMES: tuple[tuple[re.Pattern[str], tuple[str, ...]], ...] = (
    (re.compile(r"how do i (.+)"), _ACTION),
    (re.compile(r"can i (.+)"), _ACTION),
    (re.compile(r"what is (.+)"), _THING),
    (re.compile(r"where (is|are) (.+)"), _PLACE),
    (re.compile(r"why (.+)"), _REASON),
    (re.compile(r"does puna support (.+)"), _SUPPORT),
)
_SYNONYMS = (
    "model|llm|language model", "models|llms|language models", "folder|directory", "delete|remove|erase|get rid of",
    "show|display|print|view", "change|set|modify|alter|adjust|configure", "start|launch|bring up|fire up",
    "stop|end|halt|shut down", "computer|machine|pc|laptop|box", "answer|reply|response", "answers|replies|responses",
    "big|large|huge", "bigger|larger", "small|tiny|little", "fast|quick", "faster|quicker", "get|obtain|receive",
    "make|create|build|produce", "need|require", "allowed|permitted|accepted", "refused|rejected|denied|turned down",
    "find|see|locate", "keep|retain|hold", "memory|ram", "gpu|graphics card|video card", "cpu|processor",
    "program|app|application|software", "stored|kept|saved|located", "default|standard|normal", "several|multiple|many",
    "whole|complete|entire|full", "chat|conversation|dialogue", "explain|describe", "save|store|keep",
    "unload|free|release", "forever|always|permanently|all the time", "earlier|previous|former", "people|persons|users",
    "web page|website|site", "picture|image|photo", "another|a different|some other", "use|employ", "puna|the server",
    "two|2", "at once|at the same time|simultaneously|together", "wrong|incorrect|bad", "file|document", "my|the|a",
    "immediately|at once|right away", "disk|drive|hard disk", "text|words", "limit|restrict|cap", "error|failure",
    "possible|feasible", "installed|present|available", "prevent|avoid|stop", "write|enter|type", "loaded|in memory",
    "password|token|credentials", "send|post|pass", "works|runs", "work|run|function", "license|licence|terms",
    "do not|don't", "cannot|can't|can not", "is not|isn't", "does not|doesn't", "what is|what's", "i have|i've got",
    "i am|i'm", "it is|it's", "variable|environment variable|setting", "settings|configuration", "import|bring in",
    "crash|die|end unexpectedly", "crashes|dies", "slow|sluggish", "share|give away", "duplicate|copy|clone",
)  # fmt: skip
_SYNONYM_OF: dict[str, list[str]] = {}
for _group in _SYNONYMS:
    for _phrase in _group.split("|"):
        _SYNONYM_OF.setdefault(_phrase, []).extend(other for other in _group.split("|") if other != _phrase)
_PHRASES = re.compile(r"\b(" + "|".join(sorted(map(re.escape, _SYNONYM_OF), key=len, reverse=True)) + r")\b")

_OPENINGS = (
    "please", "hi,", "hello,", "hey,", "hey puna,", "please tell me,", "can you tell me,", "could you tell me,", "ok,",
    "quick question:", "one question:", "i have a question:", "so", "and", "well,", "um,", "tell me,", "sorry,", "now",
    "i wonder,", "do you know,", "just asking:", "next question:", "then", "but", "excuse me,", "thanks,",
)  # fmt: skip
_ENDINGS = ("please", "thanks", "in puna", "with puna", "here", "exactly", "on my computer", "then", "now", "anyway")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def frames_of(sentence: str) -> tuple[str, ...]:
    """The same question in other frames; nothing where no frame fits."""
    for pattern, frames in _FRAMES:
        match = pattern.fullmatch(sentence)
        if match:
            return tuple(frame.format(*match.groups()) for frame in frames)
    return ()


def varied(sentence: str, random: Generator) -> str:
    """Another wording of a question, or the same one."""
    text = sentence
    if random.random() < 0.55:
        frames = frames_of(text)
        text = frames[random.integers(len(frames))] if frames else text
    if random.random() < 0.6:
        text = _with_synonyms(text, random)
    if random.random() < 0.06:
        text = _without_a_word(text, random)
    if random.random() < 0.2:
        text = f"{_OPENINGS[random.integers(len(_OPENINGS))]} {text}"
    if random.random() < 0.12:
        text = f"{text} {_ENDINGS[random.integers(len(_ENDINGS))]}"
    if random.random() < 0.12:
        text = _with_slip(text, random)
    return text + _mark(random)


def _with_synonyms(text: str, random: Generator) -> str:
    def other(match: re.Match[str]) -> str:
        others = _SYNONYM_OF[match.group()]
        return others[random.integers(len(others))] if random.random() < 0.35 else match.group()

    return _PHRASES.sub(other, text)


def _without_a_word(text: str, random: Generator) -> str:
    words = text.split()
    if len(words) < 4:
        return text
    del words[random.integers(len(words))]
    return " ".join(words)


def _with_slip(text: str, random: Generator) -> str:
    """One letter doubled, dropped, swapped or mistaken."""
    places = [index for index in range(1, len(text) - 1) if text[index].isalpha() and text[index + 1].isalpha()]
    if not places:
        return text
    at = places[random.integers(len(places))]
    kind = random.integers(4)
    middle = (
        text[at] * 2 + text[at + 1],
        text[at + 1],
        text[at + 1] + text[at],
        _LETTERS[random.integers(26)] + text[at + 1],
    )[kind]
    return text[:at] + middle + text[at + 2 :]


def _mark(random: Generator) -> str:
    draw = random.random()
    return "?" if draw < 0.4 else " ?" if draw < 0.43 else "." if draw < 0.48 else "!" if draw < 0.51 else ""
