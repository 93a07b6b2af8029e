"""Hooks of schemathesis: half of the good requests are about a task that exists, with an agent.

Loaded by name from `SCHEMATHESIS_HOOKS`, in the process of the command.
"""

from __future__ import annotations

import os
import zlib
from typing import Any

import schemathesis

TASK_ID = os.environ["SCHEMATHESIS_TASK_ID"]


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Put real names into every other request that is good by the document."""
    mode = case.meta.generation.mode if case.meta is not None else None
    if mode is None or not mode.is_positive or zlib.crc32(repr(case).encode()) % 2:
        return
    if "task_id" in case.path_parameters and case.method == "GET":
        case.path_parameters["task_id"] = TASK_ID
        if "role" in case.path_parameters:
            case.path_parameters |= {"role": "librarian", "name": "a.html"}
    if isinstance(case.body, dict) and "selectedAgents" in case.body:
        case.body["selectedAgents"] = ["scripted-1"]
        for name in ("dependsOn", "after", "provider", "inputs"):
            case.body.pop(name, None)
    if isinstance(case.body, dict) and "taskId" in case.body:
        case.body["taskId"] = TASK_ID
