"""What the starter model answers, through the real engine at its Modelfile's temperature."""

from __future__ import annotations

import pytest

from resources.starter.corpus import ELSEWHERE, read_topics
from server.messages.chat import Message
from tests.starter.asking import answers, question, running_starter

TOPICS = {topic.name: topic for topic in read_topics()}
WANTED_SHARE = 0.8
LONG = "tell me everything you know about the history of the roman empire and its emperors " * 60


def share(said: list[str], wanted: list[str]) -> float:
    return sum(one == other for one, other in zip(said, wanted, strict=True)) / len(wanted)


@pytest.mark.anyio
async def test_held_out_wordings_get_the_right_answer() -> None:
    about = [(text, topic.answer) for topic in TOPICS.values() if topic.name != ELSEWHERE for text in topic.held_out]
    elsewhere = TOPICS[ELSEWHERE]
    async with running_starter() as runner:
        said = await answers(runner, [question(text) for text in (*(text for text, _ in about), *elsewhere.held_out)])
    wanted = [answer for _, answer in about]
    failed = [text for (text, answer), one in zip(about, said, strict=False) if one != answer]
    assert share(said[: len(about)], wanted) >= WANTED_SHARE, failed
    others = said[len(about) :]
    assert share(others, [elsewhere.answer] * len(others)) >= WANTED_SHARE, others


@pytest.mark.anyio
async def test_plain_questions_always_get_their_answer() -> None:
    asked = {
        "Hello!": "hello",
        "How do I pull a model?": "pull",
        "Where are models stored?": "where-stored",
        "How do I change the port?": "port",
        "Why is my request refused?": "origins",
        "WHAT IS PUNA": "what-is-puna",
        "Who are you?": "who-are-you",
        "thank you": "thanks",
        "How do I delete a model?": "remove",
        "What is the capital of France?": ELSEWHERE,
        "": ELSEWHERE,
        LONG: ELSEWHERE,
        "\x00\ufffd<|user|></s>{{ }} %s ../../": ELSEWHERE,
        "東京の人口は?": ELSEWHERE,
    }
    async with running_starter() as runner:
        said = await answers(runner, [question(text) for text in asked])
    assert dict(zip(asked, said, strict=True)) == {text: TOPICS[name].answer for text, name in asked.items()}


@pytest.mark.anyio
async def test_a_question_after_other_turns_still_gets_its_answer() -> None:
    names = ["port", "where-stored", "create", "list", "keep-alive", "origins", "gguf", "unload", ELSEWHERE, "hello"]
    chats = []
    for index, name in enumerate(names):
        before = [TOPICS[names[index - offset]] for offset in (1, 2, 3)]
        turns = [Message(role="system", content="You are a pirate.")]
        for topic in before:
            turns += [Message(role="user", content=topic.wordings[0].split("{")[0] or "hello")]
            turns += [Message(role="assistant", content=topic.answer)]
        first = TOPICS[name].held_out[0] if name == ELSEWHERE else PLAIN[name]
        chats.append((*turns, Message(role="user", content=first)))
    async with running_starter(slots=len(chats)) as runner:
        said = await answers(runner, chats)
    assert share(said, [TOPICS[name].answer for name in names]) >= 0.9, said


PLAIN = {
    "port": "how do i change the port?",
    "where-stored": "where are my models stored?",
    "create": "how do i create a model?",
    "list": "which models are installed?",
    "keep-alive": "how long does a model stay loaded?",
    "origins": "why do i get 403?",
    "gguf": "what is gguf?",
    "unload": "how do i unload a model?",
    "hello": "hello",
}


@pytest.mark.anyio
async def test_the_same_question_gets_the_same_answer_alone_and_in_a_crowd() -> None:
    chats = [question(topic.held_out[0]) for topic in list(TOPICS.values())[:12]]
    async with running_starter(slots=12) as runner:
        together = await answers(runner, chats)
        alone = [(await answers(runner, [chat]))[0] for chat in chats[:3]]
    assert alone == together[:3]
