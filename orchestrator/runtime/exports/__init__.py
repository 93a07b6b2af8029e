"""Exports: a task as files that people keep, made piece by piece from the log.

`source` reads a task as it stood at one event, `lines`, `report` and `archive` write it: events as
lines of JSON, a report to read, and both with all files of the agents in a ZIP. Nothing is held
whole: a piece is a page of the log, one agent's result or a part of a file.
"""

from __future__ import annotations

from orchestrator.runtime.exports.archive import write_archive as write_archive
from orchestrator.runtime.exports.lines import write_lines as write_lines
from orchestrator.runtime.exports.report import write_report as write_report
from orchestrator.runtime.exports.source import ExportSource as ExportSource
