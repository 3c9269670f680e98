from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from supervisor.settings import values
from supervisor.settings.values import Listen


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5s", 5.0),
        ("1h30m", 5400.0),
        ("500ms", 0.5),
        ("1m15s", 75.0),
        ("1.5h", 5400.0),
        ("30 d", 2592000.0),
        ("250us", 0.00025),
        ("0", 0.0),
        ("1000000000", 1.0),
        ("1000000", 0.001),
    ],
)
def test_a_duration_is_given_in_seconds(text: str, seconds: float) -> None:
    assert pytest.approx(seconds) == values.duration(text)


@pytest.mark.parametrize("text", ["5", "30", "999999"])
def test_a_small_bare_integer_is_no_duration_and_the_message_says_what_to_write(text: str) -> None:
    with pytest.raises(ValueError, match=f"write {text}s"):
        values.duration(text)


@pytest.mark.parametrize("text", ["s", "5x", "5s x", "-5s", "1h 30", "1.", ""])
def test_other_words_are_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        values.duration(text)


@pytest.mark.parametrize(
    ("text", "listen"),
    [
        (":3939", Listen(host="", port=3939)),
        ("*:80", Listen(host="", port=80)),
        ("127.0.0.1:3939", Listen(host="127.0.0.1", port=3939)),
        ("localhost:1", Listen(host="127.0.0.1", port=1)),
        ("[::1]:443", Listen(host="::1", port=443)),
        ("[::]:443", Listen(host="::", port=443)),
        ("0.0.0.0:0", Listen(host="0.0.0.0", port=0)),
    ],
)
def test_an_address_is_host_and_port(text: str, listen: Listen) -> None:
    assert listen == values.listen(text)


@pytest.mark.parametrize(
    "text", ["3939", "::1:80", "host:80", ":http", ":65536", ":", "1.2.3:80", "", "[::1]"]
)
def test_other_words_are_no_address(text: str) -> None:
    with pytest.raises(ValueError):
        values.listen(text)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("", False), ("0.0.0.0", False),
     ("::", False), ("10.0.0.1", False)],
)  # fmt: skip
def test_only_this_machine_reaches_a_loopback_address(host: str, loopback: bool) -> None:
    assert loopback == Listen(host=host, port=1).loopback


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (values.integer, "-1"),
        (values.integer, "1.5"),
        (values.integer, "²"),
        (values.fraction, "1.1"),
        (values.fraction, "nan"),
        (values.fraction, "half"),
        (values.path, "relative"),
        (values.one_of("TEXT", "JSON"), "XML"),
    ],
)
def test_what_does_not_fit_is_quoted(read: Callable[[str], Any], text: str) -> None:
    with pytest.raises(ValueError, match=text.replace(".", r"\.")):
        read(text)


def test_a_word_is_given_as_the_program_writes_it() -> None:
    assert "JSON" == values.one_of("TEXT", "JSON")("json")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("0", 0),
        ("1000", 1000),
        ("5 B", 5),
        ("5 kB", 5000),
        ("5KiB", 5120),
        ("1.5 MB", 1_500_000),
        ("2 GiB", 2 * 2**30),
        ("3 tb", 3 * 10**12),
    ],
)
def test_a_size_is_bytes(written: str, expected: int) -> None:
    assert expected == values.size(written)


@pytest.mark.parametrize("written", ["5 M", "5k", "1.5G"])
def test_a_size_that_could_be_two_is_refused_and_both_are_named(written: str) -> None:
    with pytest.raises(ValueError, match="says neither thousands nor 1024s; write"):
        values.size(written)


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (values.duration, "9" * 400 + "s"),
        (values.duration, "9" * 5000),
        (values.duration, "40000d"),
        (values.size, "9" * 5000),
        (values.size, "0.5 B"),
        (values.integer, "9" * 5000),
        (values.listen, ":" + "9" * 5000),
    ],
)
def test_what_no_machine_has_is_refused_in_a_sentence(
    read: Callable[[str], Any], text: str
) -> None:
    with pytest.raises(ValueError) as refused:
        read(text)
    assert "Exceeds the limit" not in str(refused.value)


@pytest.mark.parametrize("written", ["", "MB", "5 parsecs", "-5 MB", "5 M B", "1e9"])
def test_what_is_no_size_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        values.size(written)


def test_a_share_of_a_disk_is_a_size_or_a_part_of_it() -> None:
    assert 5_000_000 == values.share("5 MB").of(100)
    assert 5 == values.share("5%").of(100)
    assert ["5%", "256 MB", "10 B"] == [str(values.share(t)) for t in ("5 %", "256 MB", "10")]
    for wrong in ("101%", "%", "x%"):
        with pytest.raises(ValueError, match="part of a disk"):
            values.share(wrong)
