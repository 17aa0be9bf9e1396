"""The routes of llama.cpp's own server, on real models (compat-api 334-344)."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.golden.server import RunningServer

SKY = "The sky is blue because of Rayleigh scattering."


@pytest.fixture
def http(shared_server: RunningServer) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=shared_server.base, trust_env=False, timeout=60) as client:
        yield client


def post(http: httpx2.Client, path: str, **body: Any) -> Any:
    answer = http.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def refusal(http: httpx2.Client, path: str, **body: Any) -> str:
    answer = http.post(path, json=body)
    assert answer.status_code == 400, answer.text
    sentence: str = answer.json()["error"]["message"]
    return sentence


def stream(http: httpx2.Client, path: str, **body: Any) -> list[Any]:
    answer = http.post(path, json={**body, "stream": True})
    assert answer.headers["content-type"] == "text/event-stream", answer.text
    frames = answer.text[:-2].split("\n\n")
    return [frame if frame == "data: [DONE]" else json.loads(frame.removeprefix("data: ")) for frame in frames]


# ---- /completion -----------------------------------------------------------------------------------------------------


def test_a_streamed_completion(http: httpx2.Client) -> None:
    """compat-api 341"""
    *pieces, last = stream(http, "/completion", model="m", prompt="Say SKY", timings_per_token=True)
    assert "".join(piece["content"] for piece in pieces) == SKY
    assert not any(piece["stop"] for piece in pieces)
    assert all(piece["timings"]["predicted_n"] == piece["tokens_predicted"] for piece in pieces)
    tokens = [token for piece in pieces for token in piece["tokens"]]
    assert post(http, "/detokenize", model="m", tokens=tokens)["content"].removesuffix("<|end|>") == SKY
    assert (last["stop"], last["stop_type"], last["content"], last["stopping_word"]) == (True, "eos", "", "")
    assert last["timings"]["prompt_n"] + last["timings"]["cache_n"] == last["tokens_evaluated"]
    assert last["timings"]["predicted_n"] == last["tokens_predicted"] > 1


def test_a_whole_completion(http: httpx2.Client) -> None:
    asked = {"model": "m", "prompt": "SKY", "n_predict": 3, "temperature": 0.5, "top_k": 7, "return_tokens": True}
    answer = post(http, "/completion", **asked)
    assert answer["content"] == "The sky is blue"
    assert len(answer["tokens"]) == 3
    assert (answer["stop"], answer["stop_type"], answer["truncated"]) == (True, "limit", False)
    assert (answer["model"], answer["prompt"], answer["has_new_line"]) == ("m", "SKY", False)
    settings = answer["generation_settings"]
    assert (settings["n_predict"], settings["temperature"], settings["top_k"]) == (3, 0.5, 7)


def test_a_completion_ends_at_a_stop_string(http: httpx2.Client) -> None:
    answer = post(http, "/completion", model="m", prompt="STOPPY", stop=["STOP"])
    assert (answer["content"], answer["stop_type"], answer["stopping_word"]) == ("alpha beta ", "word", "STOP")


def test_a_completion_is_not_read_for_thoughts_or_calls(http: httpx2.Client) -> None:
    text = post(http, "/completion", model="m", prompt="THINK")["content"]
    assert text == "<think>\nThe user asks why.\n</think>\n\nIt scatters!"


def test_a_grammar_holds_a_completion_from_its_beginning(http: httpx2.Client) -> None:
    answer = post(http, "/completion", model="m", prompt="SKY", grammar='root ::= "x" "y"')
    assert answer["content"] == "xy"


def test_several_prompts_and_prompts_of_tokens(http: httpx2.Client) -> None:
    tokens = post(http, "/tokenize", model="m", content="SKY", add_special=True)["tokens"]
    answers = post(http, "/completion", model="m", prompt=["COUNT", ["Say ", "SKY"], tokens], n_predict=4)
    assert [answer["content"] for answer in answers] == [
        "one, two, three, four",
        "The sky is blue because",
        "The sky is blue because",
    ]
    assert [answer["index"] for answer in answers] == [0, 1, 2]
    assert post(http, "/completion", model="m", prompt=["Say ", *tokens[1:]], n_predict=1)["content"] == "The sky"


def test_probabilities_of_a_completion(http: httpx2.Client) -> None:
    answer = post(http, "/completion", model="m", prompt="SKY", n_predict=2, n_probs=2, return_tokens=True)
    first, second = answer["completion_probabilities"]
    assert (first["token"], second["token"]) == ("The sky", " is")
    assert [first["id"], second["id"]] == answer["tokens"]
    assert len(first["top_logprobs"]) == 2


@pytest.mark.parametrize("temperature", [1.0, 30.0])
def test_probabilities_that_a_token_was_drawn_with(http: httpx2.Client, temperature: float) -> None:
    """They are those of the model, cut to the likeliest and made flatter, and the draw is the one that it would have
    been without looking"""
    sampled = {"temperature": temperature, "top_k": 3, "top_p": 1, "min_p": 0, "seed": 7, "n_predict": 6}
    asked = {"model": "m", "prompt": "SKY", **sampled}
    plain = post(http, "/completion", **asked, n_probs=4, return_tokens=True)
    drawn = post(http, "/completion", **asked, n_probs=4, return_tokens=True, post_sampling_probs=True)
    assert (drawn["content"], drawn["tokens"]) == (plain["content"], plain["tokens"])
    assert len(drawn["completion_probabilities"]) == len(drawn["tokens"])
    for before, after in zip(plain["completion_probabilities"], drawn["completion_probabilities"], strict=True):
        assert set(after) == {"id", "token", "bytes", "prob", "top_probs"}
        weights = [math.exp(one["logprob"] / temperature) for one in before["top_logprobs"][:3]]
        expected = [weight / sum(weights) for weight in weights]
        found = [one["prob"] for one in after["top_probs"]]
        assert found == pytest.approx(expected[: len(found)], abs=1e-4)
        assert sum(found) == pytest.approx(1, abs=1e-4)
        assert after["prob"] == pytest.approx(
            next(o["prob"] for o in after["top_probs"] if o["token"] == after["token"])
        )


def test_without_a_choice_the_probability_is_one(http: httpx2.Client) -> None:
    for more in ({"temperature": 0}, {"temperature": 0, "dry_multiplier": 0.5}, {"grammar": 'root ::= "x" "y"'}):
        asked = {"model": "m", "prompt": "SKY", "n_predict": 2, "n_probs": 2, "post_sampling_probs": True, **more}
        *pieces, _ = stream(http, "/completion", **asked)
        entries = [entry for piece in pieces for entry in piece.get("completion_probabilities", [])]
        assert len(entries) == 2
        for entry in entries:
            assert entry["prob"] == pytest.approx(1)
            assert [other["prob"] for other in entry["top_probs"]] == pytest.approx([1])


def test_a_completion_without_a_prompt(http: httpx2.Client) -> None:
    assert refusal(http, "/completion", model="m") == '"prompt" is required'
    assert "'prompt' must be a text" in refusal(http, "/completion", model="m", prompt={"text": "SKY"})
    assert "n_predict" in refusal(http, "/completion", model="m", prompt="SKY", n_predict="many")


# ---- /props ----------------------------------------------------------------------------------------------------------


def test_what_a_model_is_run_with(http: httpx2.Client) -> None:
    """compat-api 343"""
    post(http, "/completion", model="m", prompt="SKY", n_predict=1, num_ctx=512)
    [loaded] = [model for model in http.get("/api/ps").json()["models"] if model["name"] == "m:latest"]
    for path in ("/props", "/v1/props"):
        props = http.get(path, params={"model": "m"}).json()
        assert props["default_generation_settings"]["n_ctx"] == loaded["context_length"] == 512
    assert props["default_generation_settings"]["params"]["n_predict"] == -1
    assert props["total_slots"] == 4
    assert (props["model_alias"], props["bos_token"], props["eos_token"]) == ("m", "<s>", "<|end|>")
    assert "<tool_call>" in props["chat_template"]
    assert props["chat_template_caps"]["supports_tools"]
    assert props["modalities"] == {"vision": False, "audio": False, "video": False}


def test_what_a_model_that_is_not_loaded_would_be_run_with(http: httpx2.Client) -> None:
    http.post("/api/generate", json={"model": "bare", "keep_alive": 0})
    assert http.get("/props", params={"model": "bare"}).json()["default_generation_settings"]["n_ctx"] == 1024
    assert http.get("/props", params={"model": "nobody"}).status_code == 404
