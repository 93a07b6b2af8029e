"""Artifacts: the list, and the files themselves, always as a download."""

from __future__ import annotations

from urllib.parse import quote

from api.endpoint import NO_STORE, NOSNIFF, Call


async def index(call: Call) -> None:
    """`GET /api/tasks/{id}/artifacts`."""
    task_id = call.path("task_id")
    found = await call.components.service.artifacts(task_id, owner=call.owner, shared=True)
    base = f"/api/tasks/{task_id}/artifacts"
    entries = [
        {
            "agentRole": artifact.role,
            "name": artifact.name,
            "mediaType": artifact.media_type,
            "size": artifact.size,
            "url": call.url(f"{base}/{artifact.role}/{quote(artifact.name)}"),
        }
        for artifact in found
    ]
    await call.answer({"artifacts": entries})


async def download(call: Call) -> None:
    """`GET /api/tasks/{id}/artifacts/{agentRole}/{name}`.

    What an agent wrote never runs in the browser: it is an attachment, it is not sniffed, and
    opened anyway it has no rights.
    """
    artifact, pieces = await call.components.service.artifact(
        call.path("task_id"), call.path("role"), call.path("name"),
        owner=call.owner, shared=True,
    )  # fmt: skip
    disposition = f"attachment; filename*=UTF-8''{quote(artifact.name, safe='')}"
    headers = [
        (b"content-type", artifact.media_type.encode()),
        (b"content-length", b"%d" % artifact.size),
        (b"content-disposition", disposition.encode()),
        (b"content-security-policy", b"sandbox; default-src 'none'"),
        NOSNIFF,
        NO_STORE,
    ]
    await call.send({"type": "http.response.start", "status": 200, "headers": headers})
    if call.scope["method"] != "HEAD":
        async for piece in pieces:
            await call.send({"type": "http.response.body", "body": piece, "more_body": True})
    await call.send({"type": "http.response.body", "body": b""})
