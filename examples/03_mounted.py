"""Poststream inside an application of your own.

Shows: a shop that mounts the whole API under /poststream and starts tasks from its own routes: one
       answers at once and submits when the answer is out, the other one is the stream.
Run:    python examples/03_mounted.py
Expect: the shop starts on a free port, a customer orders and watches the parcel being packed, the
        mounted API shows the same task, the shop closes. It takes about two seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import socket
from collections.abc import AsyncIterator
from typing import Any

import httpx
import uvicorn
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Mount, Route

from api.app import create_app, running
from api.auth import READ, make_token
from api.settings import Settings
from orchestrator import AgentContext, AgentRegistry, TaskRequest
from orchestrator.runtime.channels import Reader
from orchestrator.runtime.service import TaskService
from orchestrator.runtime.submitting import Submission
from orchestrator.tasks import body_hash

SHOP = "the-shop"  # whose tasks they are
SECRET = secrets.token_urlsafe(32)  # signs the tokens of the mounted API


class Packer:
    """An agent of the shop."""

    role = "packer"
    name = "Packer"
    description = "Puts an order into a parcel."

    async def run(self, context: AgentContext) -> None:
        """Fetch one thing after another."""
        for thing in ("a box", "the goods", "a ribbon"):
            await asyncio.sleep(0.2)  # it pretends to walk through the store
            await context.progress(f"Fetched {thing} for order {context.inputs['order']}")


settings = Settings(
    database_url="sqlite://",  # temporary; leave it out to keep tasks in the data folder
    jwt_secret=SecretStr(SECRET),
)
poststream = create_app(settings, AgentRegistry(Packer()))


@contextlib.asynccontextmanager
async def lifespan(shop: Starlette) -> AsyncIterator[dict[str, Any]]:
    async with running(poststream) as service:  # nobody runs the lifespan of what is mounted
        yield {"service": service}  # routes find it in `request.state`


async def pack(service: TaskService, order: str, *, attach: bool = False) -> Submission:
    """Submit the packing of an order, or find it: the key makes sure it is packed once."""
    inputs = {"order": order}
    return await service.submit(
        TaskRequest(description="Pack an order", selected_agents=["packer"], inputs=inputs),
        owner=SHOP,
        idempotency_key=f"order-{order}",
        body_hash=body_hash(inputs),
        attach=attach,
    )


async def place_order(request: Request) -> JSONResponse:
    """Answer at once. A process that dies in between forgets the order: await `pack` to be sure."""
    order = request.path_params["order"]
    submit = BackgroundTask(pack, request.state.service, order)
    return JSONResponse({"order": order, "thanks": True}, status_code=202, background=submit)


async def watch_order(request: Request) -> StreamingResponse:
    """The task as it happens. Whichever route comes first starts it, the other one finds it."""
    packing = await pack(request.state.service, request.path_params["order"], attach=True)
    assert packing.reader is not None
    return StreamingResponse(frames(packing.reader), media_type="text/event-stream")


async def frames(reader: Reader) -> AsyncIterator[bytes]:
    """The frames of the log, until the task has ended or the customer has left."""
    with contextlib.closing(reader):
        while (piece := await reader.next()) is not None:
            yield piece


shop = Starlette(
    routes=[
        Route("/orders/{order}", place_order, methods=["POST"]),
        Route("/orders/{order}/stream", watch_order),
        Mount("/poststream", poststream),
    ],
    lifespan=lifespan,
)


async def visit(url: str) -> None:
    """A customer, and then somebody who looks at the same task through the mounted API."""
    async with httpx.AsyncClient(base_url=url, trust_env=False) as customer:
        answer = await customer.post("/orders/7")
        print(f"The shop answers {answer.status_code}: {answer.json()}")

        async with customer.stream("GET", "/orders/7/stream") as stream:
            async for line in stream.aiter_lines():
                if line.startswith("data: "):
                    event = json.loads(line.removeprefix("data: "))
                    print(f"  {event['seq']}  {event['type']}  {event.get('message', '')}")

        token = make_token(
            SECRET,
            subject=SHOP,
            scopes=[READ],
            ttl_seconds=60,
            issuer=settings.jwt_issuer,
            audience=settings.jwt_audience,
        )
        tasks = await customer.get(
            "/poststream/api/tasks", headers={"Authorization": f"Bearer {token}"}
        )
        for task in tasks.json()["tasks"]:
            print(f"The mounted API knows one task: {task['title']}, {task['status']}")


async def main() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:  # any free port
        config = uvicorn.Config(
            shop,
            lifespan="on",
            log_level="warning",
            timeout_graceful_shutdown=5,  # else open streams would keep it from stopping
        )
        server = uvicorn.Server(config)
        async with asyncio.TaskGroup() as group:
            group.create_task(server.serve(sockets=[listener]))
            await visit(f"http://127.0.0.1:{listener.getsockname()[1]}")
            server.should_exit = True
    print("The shop is closed.")


if __name__ == "__main__":
    asyncio.run(main())
