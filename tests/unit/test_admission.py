from __future__ import annotations

import threading

import pytest

from services.api.admission import Admission
from services.core.errors import ClientClosedRequest, Overloaded


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
