"""What is measured, one function for each row, and what it should be."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Coroutine
from typing import NamedTuple

from tests.bench.connection import Load
from tests.bench.cpus import busy_seconds, resident_bytes, used_seconds
from tests.bench.peer import Peer

CLIENT_LIMIT = 0.85  # above it the load may be what is measured


class Sizes(NamedTuple):
    """How much is measured."""

    seconds: float
    """For each row of each server in each round."""
    readers: int
    idle_readers: int
    idle_tasks: int


class Sample(NamedTuple):
    """One row of one server in one round."""

    figures: dict[str, float]
    events_per_write: float
    client: float
    """How much of its processor the load took."""
    others: float
    """How many processors everything else on this machine took meanwhile."""


class Goal(NamedTuple):
    """What a figure should be."""

    what: str
    figure: str
    unit: str
    limit: float
    least: bool = False
    """Whether more is better."""
    of: str = ""
    """The server of whose figure it is a multiple; ``raw +`` for a difference; else absolute."""


class Row(NamedTuple):
    """Something to measure."""

    name: str
    measure: Callable[[Peer, Sizes], Coroutine[None, None, Sample]]
    goals: tuple[Goal, ...]
    fresh: bool = False
    """Whether it takes servers that did nothing before, once."""
    peers: tuple[str, ...] = ("poststream", "raw", "starlette")


class _Meter:
    """What was used between its making and `sample`."""

    def __init__(self, peer: Peer, load: Load) -> None:
        self._pid, self._load = peer.server.pid, load
        self._events = load.events
        self._began = time.perf_counter(), time.process_time(), busy_seconds()
        self._used = used_seconds(self._pid)

    @property
    def server_seconds(self) -> float:
        """Processor time of the server."""
        return used_seconds(self._pid) - self._used

    @property
    def cpu_us_per_event(self) -> float:
        """Microseconds of the server's processor for each event counted meanwhile."""
        return 1e6 * self.server_seconds / max(1, self._load.events - self._events)

    def sample(self, **figures: float) -> Sample:
        """The sample with these figures."""
        server = self.server_seconds
        wall, client, busy = (
            now - then
            for now, then in zip(
                (time.perf_counter(), time.process_time(), busy_seconds()), self._began, strict=True
            )
        )
        return Sample(
            figures=figures,
            events_per_write=self._load.events_per_write,
            client=client / wall,
            others=max(0.0, busy - server - client) / wall,
        )


async def _tasks(peer: Peer, sizes: Sizes) -> Sample:
    load = Load(peer.server.port)
    meter = _Meter(peer, load)
    wall = await load.repeat(peer.task(8), connections=50, seconds=sizes.seconds)
    sample = meter.sample(
        tasks_per_s=load.answers / wall, cpu_us=1e6 * meter.server_seconds / load.answers
    )
    load.close()
    return sample


async def _first(peer: Peer, sizes: Sizes) -> Sample:
    load = Load(peer.server.port)
    meter = _Meter(peer, load)
    await load.repeat(peer.task(8), connections=1, seconds=sizes.seconds)
    sample = meter.sample(first_ms=1e3 * statistics.median(load.first_seconds))
    load.close()
    return sample


async def _paced(peer: Peer, sizes: Sizes) -> Sample:
    streams, gap = 100, 1 / 20
    events = int((sizes.seconds + 1.0) / gap)
    load = Load(peer.server.port, stamps=True)
    one = peer.paced(events, gap)
    for _ in range(streams):  # spread over one gap, or all events would come at the same moment
        await load.once([one])
        await asyncio.sleep(gap / streams)
    await load.begun()
    load.delays.clear()
    meter = _Meter(peer, load)
    await asyncio.sleep(sizes.seconds)
    delays = sorted(load.delays)
    sample = meter.sample(
        cpu_us=meter.cpu_us_per_event,
        p50_ms=1e3 * delays[len(delays) // 2],
        p99_ms=1e3 * delays[len(delays) * 99 // 100],
    )
    await load.ended()
    load.close()
    return sample


async def _readers(peer: Peer, sizes: Sizes) -> Sample:
    gap = 1 / 20
    events = int((sizes.seconds + 1.0 + sizes.readers / 1000) / gap)
    load = Load(peer.server.port)
    one = await peer.shared(events, gap)
    await load.once([one] * sizes.readers)
    await load.begun()
    meter = _Meter(peer, load)
    await asyncio.sleep(sizes.seconds)
    sample = meter.sample(cpu_us=meter.cpu_us_per_event)
    await load.ended()
    load.close()
    return sample


async def _idle_readers(peer: Peer, sizes: Sizes) -> Sample:
    await _warm(peer)
    load = Load(peer.server.port)
    requests = await peer.idle(sizes.idle_readers)
    await load.once(requests[:10])  # the first of each kind
    before = resident_bytes(peer.server.pid)
    meter = _Meter(peer, load)
    await load.once(requests[10:])
    await load.begun()
    await asyncio.sleep(1.5)  # each is looked at once a second
    grown = resident_bytes(peer.server.pid) - before
    sample = meter.sample(kib=grown / 1024 / (sizes.idle_readers - 10))
    load.close()
    return sample


async def _idle_tasks(peer: Peer, sizes: Sizes) -> Sample:
    await _warm(peer)
    before = resident_bytes(peer.server.pid)
    meter = _Meter(peer, Load(peer.server.port))
    await peer.occupy(sizes.idle_tasks)
    await asyncio.sleep(0.5)
    grown = resident_bytes(peer.server.pid) - before
    return meter.sample(kib=grown / 1024 / sizes.idle_tasks)


async def _replay(peer: Peer, sizes: Sizes) -> Sample:
    events = 10_000
    one = await peer.finished(events)
    counted = Load(peer.server.port)
    await counted.once([one])
    await counted.ended()
    counted.close()
    assert counted.events == events, f"{counted.events} events of {events}"
    load = Load(peer.server.port, light=True)  # the same bytes each time
    meter = _Meter(peer, load)
    wall = await load.repeat(one, connections=1, seconds=sizes.seconds)
    assert load.bytes == counted.bytes * load.answers, "an answer was not like the first"
    load.events = events * load.answers
    sample = meter.sample(events_per_s=load.events / wall)
    load.close()
    return sample._replace(events_per_write=counted.events_per_write)


async def _warm(peer: Peer) -> None:
    load = Load(peer.server.port)
    await load.repeat(peer.task(8), connections=10, seconds=0.3)
    load.close()


ROWS = (
    Row(
        "idle-readers", _idle_readers,
        (Goal("memory of an idle reader", "kib", "KiB", 20),),
        fresh=True,
    ),
    Row(
        "idle-tasks", _idle_tasks,
        (Goal("memory of an idle task that runs", "kib", "KiB", 32),),
        fresh=True, peers=("poststream",),
    ),
    Row(
        "tasks", _tasks,
        (
            Goal("tasks, 50 at once, 8 events each", "tasks_per_s", "/s", 0.40, True, "raw"),
            Goal("", "tasks_per_s", "/s", 1.2, True, "starlette"),
        ),
    ),
    Row("first", _first, (Goal("first event, alone, p50", "first_ms", "ms", 7, of="raw"),)),
    Row(
        "paced", _paced,
        (
            Goal("CPU per event at 2,000 events/s", "cpu_us", "µs", 2.2, of="raw"),
            Goal("latency of these events, p50", "p50_ms", "ms", 1),
            Goal("latency of these events, p99", "p99_ms", "ms", 8, of="raw +"),
        ),
    ),
    Row(
        "readers", _readers,
        (
            Goal("CPU per event and reader, one task", "cpu_us", "µs", 1.6, of="raw"),
            Goal("", "cpu_us", "µs", 0.75, of="starlette"),
        ),
    ),
    Row(
        "replay", _replay,
        (Goal("replay of 10,000 stored events", "events_per_s", "/s", 0.07, True, "raw"),),
    ),
)  # fmt: skip
"""In the order they are measured."""
