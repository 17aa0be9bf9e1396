"""What the scripted model says, and a tool for it."""

from __future__ import annotations

from typing import Any

SKY = "The sky is blue because of Rayleigh scattering."
COUNT = "one, two, three, four, five, six, seven, eight, nine, ten"
THOUGHT, CONCLUSION = "The user asks why.", "It scatters!"
CITY = {"city": "Paris"}

PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "description": "Where"}},
    "required": ["city"],
}
WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {"name": "get_weather", "description": "The weather in a city", "parameters": PARAMETERS},
}


def get_weather(city: str) -> str:
    """The weather in a city.

    Args:
        city: Where
    """
    return f"sunny in {city}"


def asks(prompt: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": prompt}]


DIALECTS = ("ollama_chat", "openai", "anthropic")  # as LiteLLM calls them
