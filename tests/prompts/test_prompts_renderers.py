"""The prompts of the families that are rendered in code."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from server.errors import InvalidRequest, PunaError
from server.messages.chat import Message, Think, ToolCall, ToolFunction
from server.prompts.aliases import resolve
from server.prompts.renderers import RENDERERS, render
from server.prompts.renderers.texts import texts
from tests.prompts import recorded

# What the recordings say could be done better, and what we do instead. All other prompts are equal.
OURS = {
    "missing parameters become null or an empty type": "schemas are as the client sent them",
    "keywords of the schema are lost": "all keywords are shown (the Gemma models have no place for them)",
    "a developer message is dropped": "it is an instruction like a system message",
    "a system message is dropped": "all are kept: later ones in their places, Cogito's in front",
    "a new thought is asked for, but the parser": "the prompt is the same; the parser looks at its end",
    "the thought is closed, but the parser": "the prompt is the same; the parser looks at its end",
    "numbers in exponent form": "as JSON writes them",
    "a thought before calls is not closed": "closed, as the vendor's template does",
    "nothing asks for an answer": "the assistant's turn is opened",
    "a result without a call before it is dropped": "it stands in a turn of the model's",
    "an answer the client began is closed": "it stays open, with its thought",
    "a result without id and name has no name": "that of the call in its place",
    "the assistant's turn is opened twice": "once",
    "a user's text after a result has no turn": "it has",
    "the thought is opened outside a turn": "in a turn of the model's",
    "results get names by their order": "by their ids first",
    "null is written <nil>": "null",
    "the order of the schema's other keys is random": "as recorded",
}


def test_every_recorded_prompt() -> None:
    """templates 41"""
    different: dict[str, int] = {}
    count = 0
    for case in recorded.CASES:
        for think in case["think"]:
            count += 1
            got = recorded.rendered(case["renderer"], case["chat"], think)
            if got == recorded.expected(case):
                continue
            reasons = [known for known in OURS if known in case.get("note", "")]
            assert reasons, (case["renderer"], case["chat"], think, got, recorded.expected(case))
            for reason in reasons:
                different[reason] = different.get(reason, 0) + 1
    assert count == 9303
    assert "the order of the schema's other keys is random" not in different
    assert not any("the parser" in reason for reason in different)


def test_every_row_is_recorded() -> None:
    assert {case["renderer"] for case in recorded.CASES} == set(RENDERERS)


# Conversations A, B and C, their thinking unset, on and off: the length in bytes and the beginning of the SHA-256.
HASHES = {
    "qwen3-coder": "91:c1254af4 91:c1254af4 91:c1254af4 121:1371ae93 121:1371ae93 1607:e54be1db",
    "qwen3-vl-instruct": "91:c1254af4 99:7af1302f 91:c1254af4 129:47dd0f7f 121:1371ae93 927:6e230ad8",
    "qwen3-vl-thinking": "99:7af1302f 99:7af1302f 91:c1254af4 129:47dd0f7f 121:1371ae93 927:6e230ad8",
    "qwen3.5": "99:7af1302f 99:7af1302f 110:657fe6d7 129:47dd0f7f 140:339568f5 1490:848ae0a7",
    "qwen3.8": "308:2fb9d80f 99:7af1302f 110:657fe6d7 153:7598d34c 164:3e964d04 1490:848ae0a7",
    "ornith": "99:7af1302f 99:7af1302f 110:657fe6d7 153:7598d34c 164:3e964d04 1490:848ae0a7",
    "cogito": "178:53f0fe27 222:797ed1ec 178:53f0fe27 273:1124443b 231:20f459e9 1128:de1c8d40",
    "deepseek3.1": "77:614284e1 76:8a74ed6d 77:614284e1 139:05a08f41 140:6bd80e16 1062:b4e381dc",
    "olmo3": "91:c1254af4 91:c1254af4 91:c1254af4 274:ab73a59d 274:ab73a59d 845:a7da344f",
    "olmo3.1": "91:c1254af4 91:c1254af4 91:c1254af4 383:fbedda0c 383:fbedda0c 954:62a9d9a4",
    "olmo3-think": "173:69775c5a 173:69775c5a 173:69775c5a 315:d653da9f 315:d653da9f 294:a2035cb5",
    "olmo3-32b-think": "173:69775c5a 173:69775c5a 173:69775c5a 189:6cf74e31 189:6cf74e31 168:79f390ed",
    "nemotron-3-nano": "99:7af1302f 99:7af1302f 106:379c05fa 175:5eadd5a4 182:178e85f4 1554:de8df6a8",
    "nemotron-3.5-nano": "99:7af1302f 99:7af1302f 106:379c05fa 174:a80a0ccd 181:dc5da242 1553:85455d67",
    "gemma4": "71:9bcf78ca 81:52e5b6a8 71:9bcf78ca 121:ee4ed001 89:2736c148 523:72c23fec",
    "gemma4-large": "99:628f1023 81:52e5b6a8 99:628f1023 121:ee4ed001 117:58f155bb 523:72c23fec",
    "functiongemma": "110:81b2a4fb 110:81b2a4fb 110:81b2a4fb 139:0a5ae8aa 139:0a5ae8aa 697:afa7a771",
    "glm-4.7": "61:90456aab 61:90456aab 62:0f95fce1 91:e8425443 92:0a22aabd 970:293e96cd",
    "glm-ocr": "58:b74447ab 58:b74447ab 82:885d4b43 90:2bf5cb7a 122:36fb8e46 972:291d38d3",
    "lfm2": "106:8e5d8669 106:8e5d8669 106:8e5d8669 136:9e5b96d6 136:9e5b96d6 555:fa703042",
    "lfm2-thinking": "106:8e5d8669 106:8e5d8669 106:8e5d8669 156:cf905c4c 156:cf905c4c 578:7eda0da6",
    "laguna": "79:31368d79 78:4c1fe08b 79:31368d79 288:fb610301 289:e3b801f6 1239:1d2084f3",
    "poolside-v1": "73:9dde184d 72:86ef4a78 73:9dde184d 275:dfcfa0fa 264:e52dd969 840:ebc90b64",
    "cohere": "279:86451b66 279:86451b66 295:91d46783 484:a5a4bbd6 500:d6c46bbf 1036:433e7fe3",
    "glimmer": "174:8cc2ba39 174:8cc2ba39 174:ab7454a8 - - -",
}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get weather",
        "parameters": {
            "type": "object",
            "required": ["city"],
            "properties": {"city": {"type": "string", "description": "City name"}, "days": {"type": "integer"}},
        },
    },
}
A = [Message(role="system", content="Be brief."), Message(role="user", content="Hi")]
B = [
    Message(role="user", content="Hi"),
    Message(role="assistant", content="Hello", thinking="greet"),
    Message(role="user", content="Bye"),
]
CALL = ToolCall(id="call_1", function=ToolFunction(name="get_weather", arguments={"city": "Paris", "days": 2}))
C = [
    Message(role="user", content="Weather in Paris?"),
    Message(role="assistant", thinking="use tool", tool_calls=(CALL,)),
    Message(role="tool", content="sunny", tool_call_id="call_1"),
]
COLUMNS: list[tuple[list[Message], list[dict[str, Any]] | None, Think]] = [
    (A, None, None), (A, None, True), (A, None, False), (B, None, True), (B, None, False), (C, [WEATHER], True),
]  # fmt: skip


@pytest.mark.parametrize("renderer", sorted(HASHES))
def test_hashes_of_prompts(renderer: str) -> None:
    """templates 41"""
    for (messages, tools, think), cell in zip(COLUMNS, HASHES[renderer].split(), strict=True):
        prompt = render(renderer, messages, tools, think)
        if renderer.startswith("qwen3-vl") and tools:  # we close the thought before the calls
            prompt = prompt.replace("use tool\n</think>\n\n", "use tool")
        got = f"{len(prompt.encode())}:{hashlib.sha256(prompt.encode()).hexdigest()[:8]}"
        assert cell in (got, "-"), prompt


@pytest.mark.parametrize(
    ("vendor", "name", "size", "digest"),
    [
        ("qwen", "coder_system", 86, "ba7533faa67ed9a1"),
        ("qwen", "after_tools", 817, "c618bf70de036a33"),
        ("qwen", "vl_before_tools", 158, "882960e4e368f739"),
        ("qwen", "vl_after_tools", 213, "6709bb8b0113e0b3"),
        ("qwen", "high_effort", 207, "982cfb432c323e6d"),
        ("qwen", "low_effort", 136, "6b391e93fe4721f0"),
        ("cogito", "system", 107, "e20c88f5c5a3e399"),
        ("deepseek", "after_tools", 495, "c5a85b6215c49e98"),
        ("olmo", "system", 49, "71f8caefedcb4bec"),
        ("olmo", "no_functions", 51, "77662daddc17356c"),
        ("olmo", "functions", 291, "73ba053b788e8322"),
        ("olmo", "system_31", 158, "6bcfa792dc901e4a"),
        ("olmo", "think_system", 157, "8881d6420e406453"),
        ("olmo", "think_32b_system", 31, "c8472cd9daed5e7c"),
        ("olmo", "think_no_functions", 75, "b36be4e999c2a45b"),
        ("functiongemma", "before_tools", 57, "6a18160a1c30328f"),
        ("glm", "before_tools", 159, "7543b988ff82f468"),
        ("glm", "after_tools", 279, "f66a8c65a9cb0f5b"),
        ("laguna", "system", 146, "335f3ca3925c0c6c"),
        ("laguna", "before_tools", 135, "0c171570389a1ee0"),
        ("laguna", "after_tools_thinking", 399, "d355b8d40e8baad1"),
        ("laguna", "after_tools", 284, "c727c64ba10cabdf"),
        ("glimmer", "before_tools", 673, "ba60ebad3d5252a7"),
        ("glimmer", "after_tools", 583, "1d36be8d3d50ec5a"),
    ],
)
def test_texts_of_vendors(vendor: str, name: str, size: int, digest: str) -> None:
    """templates 42"""
    text = texts(vendor)[name].encode()
    if (vendor, name) == ("olmo", "think_32b_system"):
        assert texts("glimmer")["system"].encode().startswith(text)
    assert (len(text), hashlib.sha256(text).hexdigest()[:16]) == (size, digest)


def test_unknown_renderers() -> None:
    """templates 43"""
    with pytest.raises(PunaError, match='unknown renderer "x"'):
        render("x", A, None, None)


@pytest.mark.parametrize(
    ("short", "full", "size", "expected"),
    [
        ("gemma4:e4b", "registry.ollama.ai/library/gemma4:e4b", "27.4B", "gemma4-small"),
        ("gemma4:E2B-it", "", "", "gemma4-small"),
        ("gemma4:31b", "", "4B", "gemma4-large"),
        ("mine:latest", "hub.example/26b/mine:latest", "", "gemma4-large"),
        ("gemma4:27b", "", "27.4B", "gemma4-large"),
        ("mine", "", "11.9B", "gemma4-small"),
        ("mine", "", "12000M", "gemma4-large"),
        ("mine", "", "270M", "gemma4-small"),
        ("mine", "", "unknown", "gemma4-small"),
    ],
)
def test_one_name_for_small_and_large(short: str, full: str, size: str, expected: str) -> None:
    """templates 44"""
    assert resolve("gemma4", short, full, size) == expected
    assert resolve("glm-4.7", short, full, size) == "glm-4.7"


def test_an_answer_that_the_client_began() -> None:
    """templates 45, 46"""
    begun = [Message(role="user", content="Hi"), Message(role="assistant", content="It is")]
    assert render("qwen3.5", begun, None, True).endswith("<|im_start|>assistant\n<think>\n\n</think>\n\nIt is")
    assert render("deepseek3.1", C, None, True).endswith("<｜tool▁output▁end｜>")
    assert render("deepseek3.1", begun, None, True) == "<｜begin▁of▁sentence｜><｜User｜>Hi<｜Assistant｜></think>It is"
    thought = [begun[0], Message(role="assistant", thinking="Well")]
    assert render("deepseek3.1", thought, None, True).endswith("<｜Assistant｜><think>Well")
    both = [begun[0], Message(role="assistant", thinking="Well", content="It is")]
    assert render("deepseek3.1", both, None, True).endswith("<｜Assistant｜><think>Well</think>It is")
    assert recorded.rendered("olmo3", "prefill-empty").endswith("\nName a port<|im_end|>\n<|im_start|>assistant\n")


def test_toggles_of_nemotron() -> None:
    """templates 47"""
    chat = [Message(role="user", content="Hi /no_think")]
    silent = render("nemotron-3-nano", chat, None, True)
    assert silent.endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n<think></think>")
    assert "Hi /no_think<|im_end|>" in render("nemotron-3.5-nano", chat, None, True)
    back = [*chat, Message(role="user", content="/think again")]
    assert render("nemotron-3-nano", back, None, False).endswith("<think>\n")


def test_effort_of_qwen() -> None:
    """templates 48"""
    assert render("qwen3.8", A, None, "low").startswith("<|im_start|>system\n" + texts("qwen")["low_effort"])
    for wrong in ([A[0]], [Message(role="user", content="<tool_response>x</tool_response>")]):
        with pytest.raises(InvalidRequest, match="no user query found in messages"):
            render("qwen3.8", wrong, None, True)


def test_no_thinking_of_glm_ocr() -> None:
    """templates 49"""
    prompt = render("glm-ocr", [*A, Message(role="user", content="Again/nothink")], None, False)
    assert "Hi/nothink<" in prompt
    assert "Again/nothink<" in prompt
    assert prompt.count("/nothink") == 2
    assert "/nothink" not in render("glm-ocr", A, None, True)


def test_numbers_of_calls_of_cohere() -> None:
    """templates 50"""
    again = ToolCall(id="zz9", function=ToolFunction(name="get_weather", arguments={}))
    chat = [
        *C,
        Message(role="assistant", tool_calls=(again,)),
        Message(role="tool", content="rain", tool_call_id="zz9"),
    ]
    prompt = render("cohere", chat, [WEATHER], True)
    assert [prompt.count(f'"tool_call_id": "{number}"') for number in range(3)] == [2, 2, 0]


def test_what_is_done_better_than_recorded() -> None:
    shown = recorded.rendered("glm-4.7", "tools-keywords")
    for words in ('"minimum": 0', '"default": 3', '"additionalProperties": false', '"pattern": "^[a-z]+$"'):
        assert words in shown
    assert '{"type": "function", "function": {"name": "wait"}}' in recorded.rendered("qwen3.5", "tools-bare")
    for renderer in RENDERERS:
        assert "Developer rule." in recorded.rendered(renderer, "developer"), renderer
        for rule in ("First rule.", "Second rule.", "Third rule."):
            assert rule in recorded.rendered(renderer, "two-systems"), renderer
        if "think" not in renderer or "lfm2" in renderer:  # Olmo's thinking models know no tools
            assert "e+0" not in recorded.rendered(renderer, "big-numbers"), renderer
    assert "response:tide_table{" in recorded.rendered("gemma4", "arguments")
    assert "from nowhere" in recorded.rendered("gemma4", "orphan-result")
    assert recorded.rendered("gemma4", "round-two", True).endswith("<turn|>\n<|turn>model\n<|channel>thought\n")
    assert "remark:null" in recorded.rendered("functiongemma", "arguments")
    assert "<start_of_turn>user\nAnd?" in recorded.rendered("functiongemma", "orphan-result")
    assert "response:ring_bell{<escape>low<escape>}" in recorded.rendered("functiongemma", "round-two")


def test_levels_of_thinking() -> None:
    """Where a family knows levels they differ, elsewhere each of them is on."""
    for renderer in RENDERERS:
        on = recorded.rendered(renderer, "hello", True)
        prompts = {level: recorded.rendered(renderer, "hello", level) for level in ("low", "medium", "high", "max")}
        if renderer == "qwen3.8":
            assert len({on, *prompts.values()}) == 3
        elif renderer == "glimmer":
            assert [text.partition("strength: ")[2].partition(".")[0] for text in prompts.values()] == list(prompts)
        elif renderer == "nemotron-3.5-nano":
            assert "{reasoning effort: efficient}" in prompts.pop("medium")
            assert set(prompts.values()) == {on}
        else:
            assert set(prompts.values()) == {on}, renderer


def test_keys_that_a_schema_should_not_have() -> None:
    parameters: list[Any] = [
        True,
        {"type": "object", "properties": []},
        {"type": "object", "properties": {"a": True}},
        {"type": ["object"], "properties": {"a": {"type": 3}}},
        {"type": "object", "required": "a", "properties": {"a": {"enum": 1}}},
    ]
    odd: list[dict[str, Any]] = [{}, {"type": "function"}, {"type": "function", "function": None}]
    odd += [{"type": "function", "function": {"name": 7, "parameters": one}} for one in parameters]
    for renderer in RENDERERS:
        for tool in odd:
            assert "Hi" in render(renderer, A, [tool], True), (renderer, tool)
