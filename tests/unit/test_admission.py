from __future__ import annotations

import threading
import time

import pytest

from services.api.admission import Admission
from services.core.errors import ClientClosedRequest, Overloaded
from tests.waiting import until


def generator_admission(max_waiting: int, timeout_s: float) -> Admission:
    return Admission("generator", max_waiting, timeout_s, usual_s=4.0)


def never() -> threading.Event:
    return threading.Event()


def hold(admission: Admission) -> tuple[threading.Thread, threading.Event]:
    """A thread that holds the slot until the event is set."""
    inside, leave = threading.Event(), threading.Event()

    def work() -> None:
        with admission.slot(never()):
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=work)
    thread.start()
    assert inside.wait(10)
    return thread, leave


def test_beyond_the_waiting_room_requests_are_refused_with_a_time_to_retry() -> None:
    admission = generator_admission(max_waiting=0, timeout_s=10)
    admission.check()
    thread, leave = hold(admission)
    with pytest.raises(Overloaded, match="for the generator") as refused:
        admission.check()
    assert refused.value.retry_after_s == 4, "one request is before it, of usual length"
    with pytest.raises(Overloaded), admission.slot(never()):
        pytest.fail("admitted although the waiting room is full")
    leave.set()
    thread.join()
    with admission.slot(never()):
        pass


def test_a_waiter_whose_client_hung_up_leaves_the_queue() -> None:
    admission = generator_admission(max_waiting=1, timeout_s=10)
    thread, leave = hold(admission)
    gone = threading.Event()
    gone.set()
    with pytest.raises(ClientClosedRequest), admission.slot(gone):
        pytest.fail("admitted although the slot is held")
    assert admission.waiting() == 0
    leave.set()
    thread.join()


def test_waiting_ends_after_the_timeout() -> None:
    admission = generator_admission(max_waiting=1, timeout_s=0.1)
    thread, leave = hold(admission)
    with pytest.raises(Overloaded), admission.slot(never()):
        pytest.fail("admitted although the slot is held")
    leave.set()
    thread.join()


def test_a_slot_is_freed_by_an_error_inside() -> None:
    admission = generator_admission(max_waiting=0, timeout_s=1)
    with pytest.raises(ZeroDivisionError), admission.slot(never()):
        _ = 1 / 0
    with admission.slot(never()):
        assert admission.waiting() == 0


def test_what_has_time_gets_it_while_nobody_wants_it_and_hears_when_somebody_does() -> None:
    admission, ended = generator_admission(max_waiting=0, timeout_s=10), threading.Event()
    admitted: list[None] = []
    with admission.spare(ended):
        assert not admission.wanted()
        admission.check()  # it takes nobody's place
        thread = threading.Thread(target=lambda: admitted.append(admission.slot(never()).__enter__()))
        thread.start()
        deadline = time.monotonic() + 10
        while not admission.wanted() and time.monotonic() < deadline:
            time.sleep(0.001)
        assert admission.wanted() and admitted == []
    thread.join(10)
    assert len(admitted) == 1


def test_what_has_time_waits_while_somebody_wants_it_until_it_is_ended() -> None:
    admission, ended = generator_admission(max_waiting=0, timeout_s=10), threading.Event()
    threading.Timer(0.1, ended.set).start()
    with admission.slot(never()), pytest.raises(ClientClosedRequest), admission.spare(ended):
        pytest.fail("it got it")
    with admission.spare(threading.Event()):
        pass


class Told:
    """What a meter is told."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.refusals: list[str] = []

    def waited(self, seconds: float) -> None:
        self.waits.append(seconds)

    def refused(self, reason: str) -> None:
        self.refusals.append(reason)


def test_a_meter_is_told_of_waits() -> None:
    told = Told()
    admission = Admission("generator", 1, 30.0, usual_s=4.0, meter=told)
    thread, leave = hold(admission)
    assert len(told.waits) == 1
    waiter, left = hold_later(admission)
    with pytest.raises(Overloaded):
        admission.check()
    assert (told.refusals, len(told.waits)) == (["full"], 1)
    time.sleep(0.05)
    leave.set()
    thread.join()
    left.set()
    waiter.join()
    assert len(told.waits) == 2 and told.waits[1] >= 0.05


def test_a_wait_in_vain_is_told_as_a_refusal() -> None:
    told = Told()
    admission = Admission("generator", 1, 0.1, usual_s=4.0, meter=told)
    thread, leave = hold(admission)
    with pytest.raises(Overloaded), admission.slot(never()):
        pytest.fail("admitted although the slot is held")
    assert (told.refusals, len(told.waits)) == (["timeout"], 1)
    leave.set()
    thread.join()


def hold_later(admission: Admission) -> tuple[threading.Thread, threading.Event]:
    """The same as `hold`, once the thread waits."""
    leave = threading.Event()

    def work() -> None:
        with admission.slot(never()):
            leave.wait(10)

    thread = threading.Thread(target=work)
    thread.start()
    while not admission.waiting():
        time.sleep(0.001)
    return thread, leave


def test_several_at_once_where_that_is_allowed() -> None:
    admission = Admission("generator", 1, timeout_s=10, usual_s=4.0, at_once=2)
    holders = [hold(admission), hold(admission)]
    admission.check()
    assert admission.waiting() == 0

    def third() -> None:
        with admission.slot(never()):
            pass

    thread = threading.Thread(target=third)
    thread.start()
    until(lambda: admission.waiting() == 1)
    with pytest.raises(Overloaded) as refused:
        admission.check()
    assert refused.value.retry_after_s == round(4.0 * 3 / 2)
    holders[0][1].set()
    thread.join(10)
    assert not thread.is_alive(), "the third has the place of the first"
    holders[1][1].set()
    for holder, _ in holders:
        holder.join(10)
