"""Metrics, for admins: they tell how much there is of everybody's."""

from __future__ import annotations

from api.endpoint import NO_STORE, NOSNIFF, Call
from api.headers import header_values


async def show(call: Call) -> None:
    """`GET /metrics`: counters and gauges for Prometheus."""
    from api.metrics import render  # who asks for no metrics pays for no library

    service = call.components.service
    accept = b",".join(header_values(call.headers, b"accept")).decode("latin-1")
    text, media_type = render(
        await service.vitals(),
        streams=call.components.streams.places.taken,
        draining=service.draining,
        accept=accept,
    )
    headers = [
        (b"content-type", media_type.encode()),
        (b"content-length", b"%d" % len(text)),
        NO_STORE,
        NOSNIFF,
    ]
    await call.send({"type": "http.response.start", "status": 200, "headers": headers})
    await call.send({"type": "http.response.body", "body": text})
