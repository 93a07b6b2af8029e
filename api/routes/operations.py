"""What each handler takes and gives: one `Operation` a handler, beside the table of routes.

A route without one fails a test; what is written here is held against real answers by another.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from api import answers as an
from api import errors as api
from api import job_answers as done
from api.endpoint import Handler
from api.operations import JSON, Answer, Operation, Parameter
from api.routes import (
    artifacts,
    controls,
    description,
    execute,
    export,
    health,
    jobs,
    legacy,
    metrics,
    runner,
    shares,
    tasks,
    tickets,
)  # fmt: skip
from api.schemas import (
    CleanupRequest,
    LegacyCleanup,
    LegacyStart,
    LegacyStop,
    ResetRequest,
    ShareRequest,
    TicketRequest,
)  # fmt: skip
from orchestrator import errors as core
from orchestrator.tasks import TaskRequest, TaskStatus

TASKS, RUN, FILES, SHARING, JOBS, WORKER, SERVER, LEGACY = (
    "Tasks", "Run", "Files", "Sharing", "Jobs", "Worker loop", "Server", "Old names",
)  # fmt: skip
"""Groups, in the order of the documentation."""

SSE = "text/event-stream"
_DIGITS: Mapping[str, Any] = {"type": "string", "pattern": "^[0-9]{1,18}$"}
_FLAG: Mapping[str, Any] = {"type": "string", "enum": ["true", "false", "1", "0"]}
_STATUSES = "|".join(TaskStatus)

_KEY = Parameter(
    "Idempotency-Key",
    {
        "type": "string",
        "minLength": 1,
        "maxLength": 255,
        "pattern": r'^([!#-~][!-~]*|"([!#-\[\]-~]|\\["\\])+")$',  # a quoted string is its content
    },
    "Names the task: the same POST again gives the same task. Kept as long as the task.",
    "header",
)
_CURSOR = Parameter(
    "Last-Event-ID", _DIGITS, "Number of the last event the reader has; beats `after`.", "header"
)
_AFTER = Parameter("after", _DIGITS, "The same, where a header cannot be sent.")
_PREFER = Parameter(
    "Prefer", {"type": "string"}, "`respond-async`, or `wait=N` seconds (RFC 7240).", "header"
)
_LAST = Parameter("lastEventId", _DIGITS, "Act only if nothing has happened since this event.")

_TASK_HEADERS = {
    "X-Task-Id": "The task.",
    "Location": "Where it is.",
    "Idempotency-Replayed": "`true` when an earlier request has stored it.",
}
_ENDED = Answer(204, "Nothing is left, and the task has ended.", None, "")
_SUBMIT = (
    core.InvalidRequest, core.IdempotencyMismatch, core.UnknownIdempotencyKey,
    core.CursorBeyondEnd, api.InvalidIdempotencyKey, api.InvalidLastEventId, core.LimitExceeded,
    core.Overloaded, core.Draining, core.StorageFull,
)  # fmt: skip
_CONTROL = (
    api.InvalidParameter, api.InvalidLastEventId, core.TaskConflict, core.CursorBeyondEnd,
)  # fmt: skip
_MANY = (core.LimitExceeded, core.Overloaded)
_LOOP = Answer(200, "How it is now.", an.RunnerStatus)


def _limit(default: int, most: int) -> Parameter:
    schema = {"type": "integer", "minimum": 1, "maximum": most, "default": default}
    return Parameter("limit", schema, "At most so many.")


_FILTERS = (
    Parameter(
        "status",
        {"type": "string", "pattern": f"^({_STATUSES})(,({_STATUSES}))*$"},
        "One or more, separated by commas.",
    ),
    Parameter("agent", {"type": "string"}, "Tasks that selected this role."),
    Parameter("q", {"type": "string"}, "Part of title or description."),
    Parameter("from", {"type": "string", "format": "date-time"}, "Created then or later."),
    Parameter("to", {"type": "string", "format": "date-time"}, "Created before."),
    Parameter("stuck", _FLAG, "Only tasks without an event for long."),
    Parameter("archived", _FLAG, "Archived ones too."),
    Parameter(
        "scope",
        {"type": "string", "enum": ["mine", "shared", "all"], "default": "mine"},
        "The caller's, those shared with the caller, or everybody's (admin).",
    ),
    _limit(tasks.PAGE, tasks.MAX_PAGE),
    Parameter(
        "cursor", {**_DIGITS, "pattern": "^[1-9][0-9]{0,17}$"}, "`nextCursor` of the page before."
    ),
)

_OFFSET: Mapping[str, Any] = {"type": "integer", "minimum": 0, "maximum": jobs.MAX_OFFSET}
_DAYS: Mapping[str, Any] = {"type": "integer", "minimum": 1, "maximum": jobs.MAX_DAYS}
_WHOSE = Parameter(
    "scope",
    {"type": "string", "enum": ["mine", "all"], "default": "mine"},
    "The caller's, or everybody's (admin).",
)
_HISTORY = (
    _limit(jobs.PAGE, jobs.MAX_PAGE),
    Parameter("offset", {**_OFFSET, "default": 0}, "How many to leave out."),
    Parameter("jobType", {"type": "string", "enum": list(jobs.JOB_TYPES)}, "Only of this type."),
    _FILTERS[0],
    Parameter("archived", _FLAG, "Archived ones too."),
    _WHOSE,
)
_STATS = (
    Parameter("days", {**_DAYS, "default": 30}, "Tasks created in the last days."),
    Parameter(
        "groupBy",
        {"type": "string", "enum": ["agent", "day", "jobType"], "default": "day"},
        "What makes a group.",
    ),
    _WHOSE,
)

_OLD = Answer(
    200, "As it was, in snake_case.", None, JSON,
    {"Deprecation": "Since when (RFC 9745).", "Link": "What to use instead."},
)  # fmt: skip

OPERATIONS: dict[Handler, Operation] = {
    execute.stream: Operation(
        summary="Start a task; the answer is its stream", tag=RUN, body=TaskRequest,
        parameters=(_KEY, _CURSOR), problems=_SUBMIT,
        answers=(Answer(200, "The task's events, to its end.", None, SSE, _TASK_HEADERS), _ENDED),
        description="A repeat with the same `Idempotency-Key` attaches to the same task.",
    ),
    execute.execute: Operation(
        summary="Start a task; the answer is its end", tag=RUN, body=TaskRequest,
        parameters=(_KEY, _CURSOR, _PREFER), problems=_SUBMIT,
        answers=(
            Answer(200, "The task has ended.", an.TaskSnapshot, JSON, _TASK_HEADERS),
            Answer(202, "Not yet; it goes on.", an.Accepted, JSON, _TASK_HEADERS),
        ),
    ),
    execute.submit: Operation(
        summary="Start a task", tag=RUN, body=TaskRequest,
        parameters=(_KEY, _CURSOR), problems=_SUBMIT,
        answers=(Answer(202, "The task is stored.", an.Accepted, JSON, _TASK_HEADERS),),
    ),
    execute.agents: Operation(
        summary="Agents that can be selected", tag=RUN,
        answers=(Answer(200, "All agents.", an.AgentList),),
    ),
    tasks.index: Operation(
        summary="Tasks, newest first", tag=TASKS, parameters=_FILTERS,
        problems=(api.InvalidParameter,),
        answers=(
            Answer(200, "A page.", an.TaskList, JSON, {"Link": "The next page, `rel=\"next\"`."}),
        ),
        description="`?metadata.KEY=VALUE` lists tasks with this entry in their metadata.",
    ),
    tasks.active: Operation(
        summary="The caller's unfinished tasks", tag=TASKS,
        answers=(
            Answer(
                200, "At most 200.", an.TaskList, JSON,
                {"Link": "The list of the others, `rel=\"next\"`."},
            ),
        ),
    ),
    tasks.show: Operation(
        summary="The snapshot of a task", tag=TASKS,
        answers=(Answer(200, "The task now.", an.TaskSnapshot),),
    ),
    tasks.stream: Operation(
        summary="The stream of a task", tag=TASKS, parameters=(_CURSOR, _AFTER),
        problems=(api.InvalidLastEventId, core.CursorBeyondEnd, *_MANY),
        answers=(Answer(200, "Everything after the cursor, then live.", None, SSE), _ENDED),
    ),
    tasks.events: Operation(
        summary="The log of a task, page by page", tag=TASKS,
        parameters=(_AFTER, _limit(tasks.MAX_EVENTS // 2, tasks.MAX_EVENTS)),
        problems=(api.InvalidLastEventId, api.InvalidParameter, core.CursorBeyondEnd),
        answers=(Answer(200, "A page.", an.EventPage, JSON, {"Link": "The next page."}),),
    ),
    controls.cancel: Operation(
        summary="Cancel a task", tag=TASKS, parameters=(_LAST,), problems=_CONTROL,
        answers=(Answer(202, "It is cancelled, or its agents are being stopped.", an.Controlled),),
    ),
    controls.pause: Operation(
        summary="Pause a task between two agents", tag=TASKS,
        parameters=(
            Parameter(
                "mode", {"type": "string", "enum": ["now"]},
                "Stop the agents that run; they start again on resume.",
            ),
            _LAST,
        ),
        problems=_CONTROL,
        answers=(Answer(202, "It is paused, or will be.", an.Controlled),),
    ),
    controls.resume: Operation(
        summary="Go on with a paused task", tag=TASKS, parameters=(_LAST,), problems=_CONTROL,
        answers=(Answer(202, "It goes on.", an.Controlled),),
    ),
    controls.retry: Operation(
        summary="Run what did not complete", tag=TASKS, parameters=(_LAST,),
        problems=(*_CONTROL, *_MANY),
        answers=(Answer(202, "It goes on, in the same log.", an.Controlled),),
        description="Agents that delivered keep what they have delivered.",
    ),
    jobs.history: Operation(
        summary="The history of jobs", tag=JOBS, parameters=_HISTORY,
        problems=(api.InvalidParameter,),
        answers=(Answer(200, "A page, newest first.", done.JobHistory),),
    ),
    jobs.stats: Operation(
        summary="Figures of jobs", tag=JOBS, parameters=_STATS, problems=(api.InvalidParameter,),
        answers=(Answer(200, "Everything together, and each group.", done.JobStats),),
    ),
    jobs.cleanup: Operation(
        summary="Archive or delete finished tasks", tag=JOBS, body=CleanupRequest,
        problems=(core.InvalidRequest, api.MissingScope, core.StorageFull),
        answers=(Answer(200, "How many.", done.CleanedUp),),
        description="The caller's own; with `allOwners` everybody's, which takes an admin.",
    ),
    jobs.reset_state: Operation(
        summary="Close tasks whose run is gone", tag=JOBS, body=ResetRequest, body_required=False,
        problems=(core.InvalidRequest, core.StorageFull),
        answers=(Answer(200, "What was done.", done.ResetState),),
        description="Never touches a task that runs.",
    ),
    tasks.delete: Operation(
        summary="Delete a finished task", tag=TASKS, parameters=(_LAST,), problems=_CONTROL,
        answers=(Answer(204, "It is gone.", None, ""),),
    ),
    artifacts.index: Operation(
        summary="Files of the agents", tag=FILES,
        answers=(Answer(200, "All files.", an.ArtifactList),),
    ),
    artifacts.download: Operation(
        summary="One file of an agent", tag=FILES,
        answers=(Answer(200, "The file, as an attachment.", None, "*/*"),),
    ),
    export.download: Operation(
        summary="A task as a file to keep", tag=FILES,
        parameters=(
            Parameter(
                "format",
                {"type": "string", "enum": list(export.FORMATS), "default": "jsonl"},
                "Lines of JSON, a report in Markdown, or both and all files in a ZIP.",
            ),
        ),
        problems=(api.InvalidParameter, *_MANY),
        answers=(Answer(200, "The file, as an attachment.", None, "*/*"),),
    ),
    shares.show: Operation(
        summary="Whom a task is shared with", tag=SHARING,
        answers=(Answer(200, "All of them.", an.Shares),),
    ),
    shares.replace: Operation(
        summary="Share a task to read", tag=SHARING, body=ShareRequest,
        problems=(core.InvalidRequest, core.StorageFull),
        answers=(Answer(200, "Whom it is shared with now.", an.Shares),),
        description="Replaces what was before; an empty list ends sharing, and open streams.",
    ),
    tickets.issue: Operation(
        summary="A ticket for a browser's own EventSource", tag=SHARING, body=TicketRequest,
        problems=(core.InvalidRequest, core.TaskNotFound, core.StorageFull),
        answers=(Answer(201, "For `?ticket=` of that stream.", an.StreamTicket),),
    ),
    runner.status: Operation(
        summary="How the worker loop is", tag=WORKER, answers=(_LOOP,)
    ),
    runner.start: Operation(
        summary="Start the worker loop", tag=WORKER, answers=(_LOOP,),
        problems=(core.AlreadyRunning, core.Draining),
    ),
    runner.stop: Operation(
        summary="Stop the worker loop", tag=WORKER, answers=(_LOOP,),
        parameters=(
            Parameter(
                "mode",
                {"type": "string", "enum": ["drain", "now"], "default": "drain"},
                "`now` hands back to the queue what runs.",
            ),
        ),
        problems=(api.InvalidParameter,),
    ),
    runner.clear_logs: Operation(
        summary="Empty the worker's log", tag=WORKER,
        answers=(Answer(200, "It is empty.", an.Message),),
    ),
    runner.logs: Operation(
        summary="The worker's log, live", tag=WORKER, parameters=(_CURSOR, _AFTER),
        problems=(api.InvalidLastEventId, *_MANY),
        answers=(Answer(200, "The last lines, then live.", None, SSE),),
    ),
    runner.logs_history: Operation(
        summary="The worker's log", tag=WORKER,
        answers=(Answer(200, "The lines that are kept.", an.RunnerLines),),
    ),
    legacy.start: Operation(
        summary="Start a task", tag=LEGACY, deprecated=True, body=LegacyStart, body_required=False,
        parameters=(_KEY,), problems=_SUBMIT, answers=(_OLD,),
    ),
    legacy.active: Operation(
        summary="The newest unfinished task", tag=LEGACY, deprecated=True, answers=(_OLD,)
    ),
    legacy.status: Operation(
        summary="A task", tag=LEGACY, deprecated=True, answers=(_OLD,)
    ),
    legacy.stop: Operation(
        summary="Cancel a task", tag=LEGACY, deprecated=True, body=LegacyStop, body_required=False,
        problems=(core.InvalidRequest, core.TaskNotFound, core.TaskConflict), answers=(_OLD,),
    ),
    legacy.history: Operation(
        summary="The history of jobs", tag=LEGACY, deprecated=True, answers=(_OLD,),
        problems=(api.InvalidParameter,),
        parameters=(
            _HISTORY[0], _HISTORY[1], _HISTORY[2]._replace(name="job_type"),
            Parameter(
                "status", {"type": "string", "enum": list(legacy.WORDS)}, "Only with this status."
            ),
        ),
    ),
    legacy.cleanup: Operation(
        summary="Delete old finished tasks", tag=LEGACY, deprecated=True, body=LegacyCleanup,
        body_required=False, problems=(core.InvalidRequest, core.StorageFull), answers=(_OLD,),
    ),
    legacy.reset_state: Operation(
        summary="Close tasks whose run is gone", tag=LEGACY, deprecated=True, answers=(_OLD,),
        problems=(core.StorageFull,),
    ),
    metrics.show: Operation(
        summary="Metrics for Prometheus", tag=SERVER,
        answers=(Answer(200, "Counters and gauges.", None, "text/plain"),),
    ),
    health.alive: Operation(
        summary="The process answers", tag=SERVER, answers=(Answer(200, "It does.", an.Health),)
    ),
    health.ready: Operation(
        summary="Ready for new tasks", tag=SERVER,
        answers=(Answer(200, "It is.", an.Health), Answer(503, "Not now.", an.Health)),
    ),
    description.document: Operation(
        summary="This document", tag=SERVER,
        answers=(Answer(200, "OpenAPI 3.1.", None, JSON),),
    ),
    description.page: Operation(
        summary="This document as a page", tag=SERVER,
        answers=(Answer(200, "HTML without scripts.", None, "text/html"),),
    ),
}  # fmt: skip
"""Handler → operation."""
