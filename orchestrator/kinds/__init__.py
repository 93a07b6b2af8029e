"""The kinds of agents that a team can be declared of, one module each."""
