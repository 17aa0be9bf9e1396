"""How often a runner says how it is."""

from __future__ import annotations

from server.engine.pulse import PulseRate
from server.messages.frames import Pulse


def test_at_most_four_a_second_and_one_when_idle() -> None:
    rate = PulseRate(now=0.0)
    sent = []
    for millisecond in range(1000):
        rate.count(0, 2)
        pulse = rate.next(millisecond / 1000, active=2, waiting=0, used=millisecond)
        if pulse is not None:
            sent.append(pulse)
    assert len(sent) == 3
    assert sent[-1].tokens_per_second == 2000.0
    idle = rate.next(1.0, active=0, waiting=0, used=0)
    assert isinstance(idle, Pulse)
    assert (idle.active, idle.generated_tokens, idle.tokens_per_second) == (0, 2000, 0.0)
    assert idle.steps == 1000
    assert rate.next(2.0, active=0, waiting=0, used=0) is None, "nothing changed"
