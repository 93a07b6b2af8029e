"""Agents that review a git repository."""
