"""Artifacts: the list, and the files themselves, always as a download."""

from __future__ import annotations

from urllib.parse import quote

from api.downloads import send_file
from api.endpoint import Call


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
    """`GET /api/tasks/{id}/artifacts/{agentRole}/{name}`: one file, as a download."""
    artifact, pieces = await call.components.service.artifact(
        call.path("task_id"), call.path("role"), call.path("name"),
        owner=call.owner, shared=True,
    )  # fmt: skip
    await send_file(call, artifact.name, pieces, media_type=artifact.media_type, size=artifact.size)
