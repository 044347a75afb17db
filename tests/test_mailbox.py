"""The mailbox: newest wins, nothing kept is lost, both sides end."""

from __future__ import annotations

import threading
import time

import pytest

from tfpose_rt.mailbox import Mailbox


def test_the_newest_item_wins_and_the_rest_are_counted() -> None:
    box: Mailbox[int] = Mailbox()
    for i in range(5):
        assert box.put(i)
    taken = box.get(0)
    assert taken is not None
    assert (taken.item, taken.skipped, taken.seq) == (4, 4, 4)
    assert box.get(0) is None
    assert (box.captured, box.passed_over) == (5, 4)
    box.put(5)
    taken = box.get(0)
    assert taken is not None
    assert (taken.item, taken.skipped) == (5, 0)


def test_kept_items_arrive_in_order_and_are_never_passed_over() -> None:
    box: Mailbox[str] = Mailbox()
    for item, keep in [("a", False), ("gap", True), ("b", False), ("c", False), ("size", True), ("d", False)]:
        box.put(item, keep=keep)
    got = [box.get(0) for _ in range(3)]
    assert [t.item for t in got if t] == ["gap", "size", "d"]
    assert [t.skipped for t in got if t] == [0, 0, 3]
    assert box.get(0) is None
    assert (box.captured, box.passed_over) == (4, 3)


def test_a_slow_reader_never_makes_the_writer_wait() -> None:
    box: Mailbox[int] = Mailbox()
    start = time.monotonic()
    for i in range(10_000):
        box.put(i)
    assert time.monotonic() - start < 2
    assert len(box) == 1


def test_a_queue_loses_nothing_and_makes_the_writer_wait() -> None:
    box: Mailbox[int] = Mailbox(depth=4)
    writer = threading.Thread(target=lambda: [box.put(i) for i in range(50)])
    writer.start()
    time.sleep(0.05)
    assert len(box) == 4
    got = []
    while len(got) < 50:
        taken = box.get(5)
        assert taken is not None
        got.append(taken.item)
    writer.join(5)
    assert got == list(range(50))
    assert box.passed_over == 0


def test_closing_frees_a_waiting_writer_and_a_waiting_reader() -> None:
    full: Mailbox[int] = Mailbox(depth=2)
    full.put(0)
    full.put(1)
    answer: list[object] = []
    writer = threading.Thread(target=lambda: answer.append(full.put(2)))
    empty: Mailbox[int] = Mailbox()
    reader = threading.Thread(target=lambda: answer.append(empty.get()))
    for thread in (writer, reader):
        thread.start()
    time.sleep(0.05)
    full.close()
    empty.close()
    for thread in (writer, reader):
        thread.join(2)
        assert not thread.is_alive()
    assert sorted(map(str, answer)) == ["False", "None"]


def test_the_writers_error_comes_after_its_last_item() -> None:
    box: Mailbox[int] = Mailbox()
    box.put(1)
    box.close(OSError("cable"))
    taken = box.get()
    assert taken is not None
    assert taken.item == 1
    with pytest.raises(OSError, match="cable"):
        box.get()
    assert box.get() is None
    assert box.closed


def test_draining_counts_as_passed_over() -> None:
    box: Mailbox[str] = Mailbox()
    box.put("a")
    box.put("gap", keep=True)
    assert box.drain() == 1
    taken = box.get(0)
    assert taken is not None
    assert taken.item == "gap"
    box.put("b")
    taken = box.get(0)
    assert taken is not None
    assert taken.skipped == 1
