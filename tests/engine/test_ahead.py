"""Reading ahead: everything in its order, errors where they belong, and no thread left behind."""

from __future__ import annotations

import threading

import pytest

from epochwise.engine.streams.ahead import Ahead


def readers():
    return [thread for thread in threading.enumerate() if thread.name == "epochwise-reader"]


def test_all_items_in_their_order_from_another_thread():
    """Each once."""
    seen = set()

    def make(wanted):
        for number in range(50):
            assert wanted()
            seen.add(threading.current_thread().name)
            yield number

    assert list(Ahead(make)) == list(range(50))
    assert seen == {"epochwise-reader"}
    assert not readers()


def test_what_reading_raises_is_raised_where_it_is_read():
    """After the items that came before it."""

    def make(wanted):
        yield 1
        raise ConnectionError("no network")

    ahead = iter(Ahead(make))
    assert next(ahead) == 1
    with pytest.raises(ConnectionError, match="no network"):
        next(ahead)
    assert not readers()


def test_nobody_reads_on_when_the_rest_is_not_wanted():
    """Closing ends the thread, which is then at most two items ahead."""
    made, ended = [], []

    def make(wanted):
        try:
            while wanted():
                made.append(len(made))
                yield made[-1]
        finally:
            ended.append(threading.current_thread().name)

    ahead = iter(Ahead(make))
    assert [next(ahead) for _ in range(3)] == [0, 1, 2]
    ahead.close()
    assert len(made) <= 5
    assert not readers()
