"""Step times decide how much prompt is read beside others, and how many threads work."""

from __future__ import annotations

from server.engine.pace import STEP_SECONDS, Pace, ThreadChoice
from server.engine.plan import TILE

BATCH = 2048


def test_alone_a_prompt_takes_the_whole_batch() -> None:
    assert Pace(BATCH).prefill_tokens(0) == BATCH


def test_before_anything_is_known_others_wait_for_one_tile_only() -> None:
    assert Pace(BATCH).prefill_tokens(3) == TILE


def test_the_quota_fits_the_time_that_is_left_of_a_step() -> None:
    pace = Pace(BATCH)
    pace.observe(0.02, generating=4, reading=0)
    pace.observe(0.02 + 512 * 0.0002, generating=4, reading=512)
    assert pace.prefill_tokens(4) == int((STEP_SECONDS - 0.02) / 0.0002)


def test_a_slow_machine_still_reads_a_tile() -> None:
    pace = Pace(BATCH)
    pace.observe(0.3, generating=1, reading=0)
    pace.observe(2.0, generating=1, reading=64)
    assert pace.prefill_tokens(1) == TILE - 1


def test_a_fast_device_reads_whole_batches() -> None:
    pace = Pace(BATCH)
    pace.observe(0.005, generating=8, reading=0)
    pace.observe(0.030, generating=8, reading=1024)
    assert pace.prefill_tokens(8) == BATCH


class Machine:
    """Steps of 20 ms with eight threads; beside a busy program spinning makes the others wait."""

    def __init__(self, threads: int = 8) -> None:
        self.choice = ThreadChoice(threads)
        self.is_busy = False
        self.factor = 1.0

    def step(self) -> int:
        threads = self.choice.current
        seconds = 0.16 / threads * self.factor
        if self.is_busy and threads > self.choice.most // 4:
            seconds *= 15
        return self.choice.observe(seconds, 1)

    def steps(self, count: int) -> list[int]:
        return [self.step() for _ in range(count)]


def test_all_threads_work_while_the_machine_is_quiet() -> None:
    assert set(Machine().steps(500)) == {8}


def test_a_busy_neighbour_lowers_the_threads_until_it_helps() -> None:
    machine = Machine()
    machine.steps(20)
    machine.is_busy = True
    assert machine.steps(60)[-1] == 2


def test_one_slow_step_changes_nothing() -> None:
    machine = Machine()
    machine.steps(20)
    for _ in range(10):
        machine.choice.observe(0.5, 1)
        machine.choice.observe(0.02, 1)
    assert machine.choice.current == 8


def test_threads_come_back_when_the_neighbour_has_gone() -> None:
    machine = Machine()
    machine.steps(20)
    machine.is_busy = True
    machine.steps(60)
    machine.is_busy = False
    assert machine.steps(2 * ThreadChoice.RETRY_STEPS)[-1] == 8


def test_retries_become_rare_while_it_stays_busy() -> None:
    machine = Machine()
    machine.steps(20)
    machine.is_busy = True
    assert machine.steps(5000).count(8) < 60


def test_steps_that_are_slow_for_good_keep_all_threads() -> None:
    """A long context makes every step longer; fewer threads would not help."""
    machine = Machine()
    machine.steps(20)
    machine.factor = 4.0
    assert machine.steps(2000).count(8) > 1980


def test_another_number_of_streams_is_not_a_busy_machine() -> None:
    choice = ThreadChoice(4)
    for rows in (1, 8, 1, 8):
        for _ in range(50):
            assert choice.observe(0.02 * rows, rows) == 4


def test_one_thread_stays_one() -> None:
    choice = ThreadChoice(1)
    assert {choice.observe(seconds, 1) for seconds in [0.02] * 10 + [1.0] * 20} == {1}
