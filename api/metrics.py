"""Metrics for Prometheus: everything is read when it is asked for, nothing is counted twice.

The registry is one of our own, made for each answer, so that a host application's metrics and
these do not mix.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from api.versions import installed_version
from orchestrator.runtime.vitals import Vitals

PREFIX = "poststream_"


class _Vitals(Collector):
    """What a runtime and its server say of themselves."""

    def __init__(self, vitals: Vitals, streams: int, draining: bool) -> None:
        self._vitals = vitals
        self._streams = streams
        self._draining = draining

    def collect(self) -> Iterator[Metric]:
        """Every family, in an order for reading."""
        vitals = self._vitals
        tasks = GaugeMetricFamily(
            f"{PREFIX}tasks", "Unfinished tasks by status.", labels=["status"]
        )
        for status, count in sorted(vitals.tasks.items()):
            tasks.add_metric([status], count)
        yield tasks
        yield _gauge("running_tasks", "Tasks that run in this process.", vitals.running)
        yield _gauge("slots", "Tasks that may run at once.", vitals.slots)
        yield _gauge("queued_tasks", "Tasks that wait for a slot.", vitals.queued)
        yield _gauge("claiming", "Whether queued tasks are claimed (1).", vitals.claiming)
        yield _gauge("draining", "Whether the process shuts down (1).", self._draining)
        yield _gauge("stragglers", "Agents that run on after being stopped.", vitals.stragglers)
        yield _gauge("streams", "Open streams and exports.", self._streams)
        yield _gauge("readers", "Cursors over logs.", vitals.readers)
        yield _gauge("channel_bytes", "Events kept in memory for readers.", vitals.channel_bytes)
        yield _counter("commits", "Transactions committed.", vitals.commits)
        yield _counter("loop_stalls", "Times the event loop stood.", vitals.loop_stalls)
        yield _gauge("stored_tasks", "Tasks in the database.", vitals.stored.tasks)
        yield _gauge("stored_events", "Events in all logs.", vitals.stored.events)
        yield _gauge("log_bytes", "Bytes of all logs.", vitals.stored.log_bytes)
        yield _gauge("database_bytes", "Size of the database's files.", vitals.database_bytes)
        info = GaugeMetricFamily(f"{PREFIX}info", "The version that runs.", labels=["version"])
        info.add_metric([installed_version()], 1)
        yield info


def render(
    vitals: Vitals, *, streams: int, draining: bool, accept: str | None
) -> tuple[bytes, str]:
    """All metrics in one of Prometheus's text formats.

    Args:
        vitals: Of the runtime.
        streams: How many streams are open.
        draining: Whether the process shuts down.
        accept: The `Accept` of the request: it says which format.

    Returns:
        The text and its media type.
    """
    registry = CollectorRegistry()
    registry.register(_Vitals(vitals, streams, draining))
    ProcessCollector(registry=registry)
    try:
        encode, media_type = choose_encoder(accept or "")
    except (TypeError, ValueError):  # of the library, at versions that are no numbers
        encode, media_type = choose_encoder("")
    return encode(registry), media_type


def _gauge(name: str, help: str, value: float) -> Metric:
    return GaugeMetricFamily(PREFIX + name, help, value=value)


def _counter(name: str, help: str, value: float) -> Metric:
    return CounterMetricFamily(PREFIX + name, help, value=value)
