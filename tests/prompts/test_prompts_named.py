# ruff: noqa: E501  (a prompt is one line)
"""Chat templates by name."""

from __future__ import annotations

import pytest

from server.messages.chat import Message
from server.prompts import gotemplate
from server.prompts.named import detect, templates

CHAT = [
    Message(role="system", content="S"),
    Message(role="user", content="U1"),
    Message(role="assistant", content="A1"),
    Message(role="user", content="U2"),
]
PROMPTS = {
    "alfred": "<start_system>S<end_message><start_user>U1<end_message><start_assistant>A1<end_message><start_user>U2<end_message><start_assistant>",
    "alpaca": "S\n\n### Instruction:\nU1\n\n### Response:\nA1\n\n### Instruction:\nU2\n\n### Response:\n",
    "chatml": "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU1<|im_end|>\n<|im_start|>assistant\nA1<|im_end|>\n<|im_start|>user\nU2<|im_end|>\n<|im_start|>assistant\n",
    "chatqa": "System: S\n\nUser: U1\n\nAssistant: A1\n\nUser: U2\n\nAssistant:",
    "codellama-70b-instruct": "Source: system\n\n S <step> Source: user\n\n U1 <step> Source: assistant\n\n A1 <step> Source: user\n\n U2 <step> Source: assistant\nDestination: user\n\n ",
    "falcon-instruct": "System: S\nUser:\nU1\nFalcon:\nA1\nUser:\nU2\nFalcon:\n",
    "gemma-instruct": "<start_of_turn>user\nS\nU1<end_of_turn>\n<start_of_turn>model\nA1<end_of_turn>\n<start_of_turn>user\nU2<end_of_turn>\n<start_of_turn>model\n",
    "gemma3-instruct": "<start_of_turn>user\nS\n\nU1<end_of_turn>\n<start_of_turn>model\nA1<end_of_turn>\n<start_of_turn>user\nU2<end_of_turn>\n<start_of_turn>model\n\n",
    "granite-instruct": "System:\nS\n\nQuestion:\nU1\n\nAnswer:\nA1\n\nQuestion:\nU2\n\nAnswer:\n",
    "llama2-chat": "[INST] <<SYS>>\nS\n<</SYS>>\n\nU1 [/INST] A1</s><s>[INST] <<SYS>><</SYS>>\n\nU2 [/INST]",
    "magicoder": "S\n\n@@ Instruction\nU1\n\n@@ Response\nA1\n\n@@ Instruction\nU2\n\n@@ Response\n",
    "mistral-instruct": "[INST] S\n\nU1[/INST] A1</s>[INST] U2[/INST]",
    "openchat": "GPT4 Correct System: S<|end_of_turn|>GPT4 Correct User: U1<|end_of_turn|>GPT4 Correct Assistant: A1<|end_of_turn|>GPT4 Correct User: U2<|end_of_turn|>GPT4 Correct Assistant:",
    "phi-3": "<|system|>\nS<|end|>\n<|user|>\nU1<|end|>\n<|assistant|>\nA1<|end|>\n<|user|>\nU2<|end|>\n<|assistant|>\n",
    "solar-instruct": "### System:\nS\n\n### User:\nU1\n\n### Assistant:\nA1</s>\n\n### User:\nU2\n\n### Assistant:\n",
    "starcoder2-instruct": "S\n\n### Instruction\nU1\n\n### Response\nA1<|endoftext|>\n\n### Instruction\nU2\n\n### Response\n",
    "vicuna": "S\n\nUSER: U1\nASSISTANT: A1</s>\nUSER: U2\nASSISTANT:",
    "zephyr": "<|system|>\nS</s>\n<|user|>\nU1</s>\n<|assistant|>\nA1</s>\n<|user|>\nU2</s>\n<|assistant|>\n",
    "llama3-instruct": "".join(
        f"<|start_header_id|>{role}<|end_header_id|>\n\n{text}"
        for role, text in (
            ("system", "S<|eot_id|>"),
            ("user", "U1<|eot_id|>"),
            ("assistant", "A1<|eot_id|>"),
            ("user", "U2<|eot_id|>"),
            ("assistant", ""),
        )
    ),
    "command-r": "".join(
        f"<|START_OF_TURN_TOKEN|><|{role}_TOKEN|>{text}"
        for role, text in (
            ("SYSTEM", "S<|END_OF_TURN_TOKEN|>"),
            ("USER", "U1<|END_OF_TURN_TOKEN|>"),
            ("CHATBOT", "A1<|END_OF_TURN_TOKEN|>"),
            ("USER", "U2<|END_OF_TURN_TOKEN|>"),
            ("CHATBOT", "\n"),
        )
    ),
}


@pytest.mark.parametrize("name", sorted(PROMPTS))
def test_prompts(name: str) -> None:
    """templates 33"""
    template = gotemplate.parse(templates()[name].template)
    assert template.render(CHAT, None, None) == PROMPTS[name]
    begun = [*CHAT, Message(role="assistant", content="It is")]
    assert template.render(begun, None, None).endswith("It is")
    assert template.capabilities == ()


def test_all_are_tested() -> None:
    assert set(templates()) == set(PROMPTS)
    published = [key for one in templates().values() for key in one.published]
    assert len(published) == len(set(published)) == 37


CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
DEFINED = "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}"
LLAMA3 = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + "
    "message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}"
    "{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)


def test_only_the_published_ones_are_known() -> None:
    """templates 34"""
    for text, name in ((CHATML, "chatml"), (DEFINED + CHATML, "chatml"), (LLAMA3, "llama3-instruct")):
        found = detect(text)
        assert found is not None
        assert found.name == name
    assert detect(CHATML + " ") is None
    assert detect("") is None
