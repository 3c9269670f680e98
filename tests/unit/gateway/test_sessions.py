"""Pins are worth something only where they were signed for; counts belong to runs."""

from __future__ import annotations

import os

import pytest

from supervisor.gateway.sessions import Pins, Sessions, Worker, key_from_hex

GUID = b"0f8fad5b-d9cb-469f-a165-70867728950e"
OTHER = b"7c9e6679-7425-40de-944b-e07fc1f90ae7"


@pytest.fixture
def pins() -> Pins:
    pins = Pins()
    pins.rekey(b"k" * 32)
    return pins


def test_a_signed_pin_is_verified(pins: Pins) -> None:
    pin = pins.verify(GUID, pins.sign(GUID, "01run", "v-1_x", 1000), 999)
    assert pin is not None
    assert ("01run", "v-1_x", 1000) == (pin.run, pin.visitor, pin.expires)


def test_a_pin_expires_also_when_it_was_seen_before(pins: Pins) -> None:
    value = pins.sign(GUID, "01run", "v", 1000)
    assert pins.verify(GUID, value, 999) is not None
    assert pins.verify(GUID, value, 1000) is None


def test_a_pin_holds_for_one_content(pins: Pins) -> None:
    assert pins.verify(OTHER, pins.sign(GUID, "01run", "v", 1000), 0) is None


def test_a_pin_of_another_key_is_worth_nothing(pins: Pins) -> None:
    value = pins.sign(GUID, "01run", "v", 1000)
    assert pins.verify(GUID, value, 0) is not None
    pins.rekey(b"x" * 32)
    assert pins.verify(GUID, value, 0) is None


def test_no_key_means_no_pin() -> None:
    pins = Pins()
    assert pins.verify(GUID, b"01run.v.1000." + b"A" * 43, 0) is None


def test_no_changed_byte_is_accepted(pins: Pins) -> None:
    value = pins.sign(GUID, "01run", "v", 1000)
    for index in range(len(value)):
        for byte in (b"A", b"1", b".", b""):
            changed = value[:index] + byte + value[index + 1 :]
            if changed != value:
                assert pins.verify(GUID, changed, 0) is None, changed


def test_the_first_good_pin_counts(pins: Pins) -> None:
    good = pins.sign(GUID, "01run", "v", 1000)
    pin = pins.first(GUID, [b"bad", good], 0)
    assert pin is not None
    assert "01run" == pin.run


@pytest.mark.parametrize("text", ["", "00", "xyz", "0" * 31])
def test_a_short_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        key_from_hex(text)


def directory() -> int:
    return os.open("/", os.O_PATH)


def test_a_renewed_worker_keeps_its_counts_and_closes_the_old_descriptor() -> None:
    sessions = Sessions()
    first, second = directory(), directory()
    sessions.put(Worker("01run", GUID, "app.sock", 1, first))
    sessions.workers["01run"].sockets = 3
    sessions.put(Worker("01run", GUID, "app.sock", 1, second))
    assert 3 == sessions.workers["01run"].sockets
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(first)
    sessions.remove("01run")
    sessions.remove("01run")
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(second)


def test_only_named_runs_are_kept() -> None:
    sessions = Sessions()
    for run in ("01a", "01b"):
        sessions.put(Worker(run, GUID, "app.sock", 1, directory()))
    sessions.keep_only({"01b"})
    assert {"01b"} == sessions.workers.keys()
    sessions.remove("01b")


def test_changes_are_taken_once() -> None:
    sessions = Sessions()
    worker = Worker("01run", GUID, "app.sock", 1, directory())
    sessions.put(worker)
    worker.total = 5
    sessions.changed.add(worker)
    counts = {"01run": {"sockets": 0, "requests": 0, "total": 5}}
    assert counts == sessions.take_changes()
    assert {} == sessions.take_changes()
    assert counts == sessions.take_changes(everything=True)
    sessions.remove("01run")
