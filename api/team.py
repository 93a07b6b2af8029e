"""The team of a process: which agents its settings give it."""

from __future__ import annotations

from orchestrator.agents import AgentRegistry
from orchestrator.catalog import load_catalog
from orchestrator.errors import SettingsError
from orchestrator.kinds.scripted import register_scripted
from orchestrator.kinds.threads import DaemonThreads
from orchestrator.settings import RuntimeSettings


def load_registry(settings: RuntimeSettings) -> AgentRegistry:
    """Register the agents of ``AGENTS_FILE``, then the scripted ones if they are wanted.

    Args:
        settings: ``agents_file``, ``scripted_agents`` and ``max_threads`` count.

    Returns:
        The agents in the order of the file; none when no file is named.

    Raises:
        SettingsError: There is no such file.
        CatalogError: The file cannot be used as it is; one line for each thing that is wrong.
    """
    registry = AgentRegistry()
    if (path := settings.agents_file) is not None:
        if not path.is_file():
            raise SettingsError(
                f"There is no file {path.absolute()}; POSTSTREAM_AGENTS_FILE names the file that "
                "declares the agents."
            )
        load_catalog(path, registry, threads=DaemonThreads(settings.max_threads))
    if settings.scripted_agents:
        register_scripted(registry)
    return registry
