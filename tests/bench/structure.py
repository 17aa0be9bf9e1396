"""What a schema costs: the token rate of answers that are held to one against that of free answers, in turns."""

from __future__ import annotations

import statistics
from typing import Any

from tests.bench.serving import Server

PAIRS = 7
# Long free strings: every token is checked, hardly any is refused.
FORMAT = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}


def structured(server: Server, body: dict[str, Any]) -> None:
    """Print the ratio of the rates, for the likeliest token and for drawn ones, alone and eight at once."""
    server.stream(body | {"format": FORMAT})  # the first one makes the tokenizer and compiles the schema
    for temperature in (0.0, 0.8):
        for streams in (1, 8):
            asked = body | {"options": body["options"] | {"temperature": temperature, "seed": 1}}
            ratios = []
            for pair in range(PAIRS):
                first_is_free = pair % 2 == 0
                first = server.streams(asked if first_is_free else asked | {"format": FORMAT}, streams)
                second = server.streams(asked | {"format": FORMAT} if first_is_free else asked, streams)
                ratios.append(second / first if first_is_free else first / second)
            middle = statistics.median(ratios)
            spread = f"from {min(ratios):.3f} to {max(ratios):.3f}"
            print(f"schema, temperature {temperature}, {streams} streams: ratio {middle:.3f} ({spread}; at least 0.97)")
