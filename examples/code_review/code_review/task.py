"""What the agents that read the repository themselves have in common."""

from __future__ import annotations

import abc
from typing import Any

from orchestrator.errors import AgentError
from orchestrator.kinds.background import BackgroundTask, ProgressHandle

from .git import Repository, RepositoryError


class RepositoryTask(BackgroundTask):
    """Opens the repository in ``inputs.path``; what is wrong with it becomes the agent's error."""

    def execute(self, progress_handle: ProgressHandle, path: str) -> dict[str, Any]:
        """Open it and look at it.

        Raises:
            AgentError: The folder is no git repository, or git cannot read it.
        """
        try:
            return self.look_at(Repository(path), progress_handle)
        except RepositoryError as error:
            raise AgentError(str(error), code=error.code) from None

    @abc.abstractmethod
    def look_at(self, repository: Repository, handle: ProgressHandle) -> dict[str, Any]:
        """Do the work; the dict is the agent's output."""
