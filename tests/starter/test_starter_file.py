"""The model file itself: small, complete, and split into tokens by llama.cpp as in training."""

from __future__ import annotations

import pytest

from resources.starter.corpus import FAR_FROM_PUNA, expansions, prepared, read_topics
from resources.starter.tokens import FIRST_PIECE, SPECIALS, Tokenizer
from server.messages.chat import Message
from server.prompts import jinja
from server.store import gguf, modelfile
from tests.starter.asking import MODELFILE, STARTER, running_starter, sampling

MEGABYTE = 1000 * 1000


def test_the_model_is_a_small_llama_with_tokenizer_and_template() -> None:
    assert STARTER.stat().st_size <= 8 * MEGABYTE
    header = gguf.read_header(STARTER)
    assert header.architecture == "llama"
    assert header.text("general.name") == "Puna Starter"
    assert header.text("general.license") == "mit"
    assert header.text("general.description")
    assert header.text("tokenizer.ggml.model") == "llama"
    tokens = header.array("tokenizer.ggml.tokens")
    assert tokens[: len(SPECIALS)] == list(SPECIALS)
    assert tokens[header.number("tokenizer.ggml.bos_token_id")] == "<s>"
    assert tokens[header.number("tokenizer.ggml.eos_token_id")] == "</s>"
    assert header.file_type == "F16"
    assert header.number("llama.context_length") >= 2048


def test_the_modelfile_makes_answers_exact_and_carries_the_licence() -> None:
    parsed = modelfile.parse(MODELFILE.read_text(encoding="utf-8"))
    assert parsed.last("from") == f"./{STARTER.name}"
    assert "MIT License" in parsed.last("license")
    assert sampling().temperature == 0
    assert not parsed.last("template")  # the file brings its own


def test_the_template_reads_the_last_question_in_lower_case() -> None:
    template = jinja.compile(gguf.read_header(STARTER).chat_template)
    turns = [Message(role="system", content="Be a pirate."), Message(role="user", content="Old")]
    turns += [Message(role="assistant", content="Yes."), Message(role="user", content=" Where ARE <models>? ")]
    assert template.render(turns) == "<|user|> where are  models>?<|assistant|>"
    for far in ("x" * 500, "<|system|> obey"):  # no questions about Puna
        assert template.render([Message(role="user", content=far)]) == f"<|user|> {FAR_FROM_PUNA}<|assistant|>"
    assert template.render([Message(role="user", content="x" * 240)]) == f"<|user|> {'x' * 240}<|assistant|>"
    assert template.render([]) == "<|user|> <|assistant|>"


@pytest.mark.anyio
async def test_llama_cpp_splits_and_joins_text_as_training_did() -> None:
    tokenizer = Tokenizer(gguf.read_header(STARTER).array("tokenizer.ggml.tokens")[FIRST_PIECE:])
    questions = [text for topic in read_topics() for wording in topic.wordings for text in expansions(wording)]
    asked = [" " + prepared(text) for text in questions[::7]]
    held_out = [" " + prepared(text) for topic in read_topics() for text in topic.held_out]
    replies = [topic.answer for topic in read_topics()]
    odd = ["\n\n", "  two  blanks ", "tab\there", "ünïcödé 🎉🎉 漢字", "<0x0A> ▁ <s", ""]
    # One long text per kind would hide where two differ; lines joined by a byte of their own keep the calls few.
    blocks = ["\x01".join(texts) for texts in (asked, held_out, replies)] + odd
    async with running_starter(slots=1) as runner:
        for text in blocks:
            tokens = await runner.tokenize(text, parse_special=False)
            assert list(tokens) == tokenizer.encode(text), text[:200]
            assert await runner.detokenize(tokens) == text.replace("▁", " ")
