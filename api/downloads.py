"""Files on their way to a client: attachments, piece by piece.

What an agent wrote never runs in the browser: it is an attachment, it is not sniffed, and opened
anyway it has no rights.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from urllib.parse import quote

from api.endpoint import NO_STORE, NOSNIFF, Call
from api.streaming import UNDRAINED_SECONDS

logger = logging.getLogger(__name__)


async def send_file(
    call: Call, name: str, pieces: AsyncIterator[bytes], *, media_type: str, size: int | None = None
) -> None:
    """Answer with a file; to HEAD only with what it would be.

    It ends when the client leaves, and with the connection when the client takes nothing for
    `UNDRAINED_SECONDS`: what waits to be sent is memory of ours.

    Args:
        call: The request.
        name: File name, whatever it holds.
        pieces: The content.
        media_type: Its type.
        size: In bytes, if it is known.
    """
    disposition = f"attachment; filename*=UTF-8''{quote(name, safe='')}"
    headers = [
        (b"content-type", media_type.encode()),
        (b"content-disposition", disposition.encode()),
        (b"content-security-policy", b"sandbox; default-src 'none'"),
        NOSNIFF,
        NO_STORE,
    ]
    if size is not None:
        headers.append((b"content-length", b"%d" % size))
    await call.send({"type": "http.response.start", "status": 200, "headers": headers})
    if call.scope["method"] != "HEAD":
        leaving = asyncio.create_task(_disconnected(call))
        try:
            async for piece in pieces:
                if leaving.done() or not await _send(call, piece):
                    return
        finally:
            leaving.cancel()
    await _send(call, b"", last=True)


async def _send(call: Call, piece: bytes, *, last: bool = False) -> bool:
    """Send a piece; False when nobody takes it."""
    try:
        async with asyncio.timeout(UNDRAINED_SECONDS):
            await call.send({"type": "http.response.body", "body": piece, "more_body": not last})
    except TimeoutError:
        logger.info("a download was not taken", extra={"path": call.scope["path"]})
        call.outlet.abort()
        return False
    return True


async def _disconnected(call: Call) -> None:
    while (await call.receive())["type"] != "http.disconnect":
        pass
