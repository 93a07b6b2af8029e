"""State: the only place that speaks SQL.

`tables` declares, `database` connects, `writer` commits, and one file per noun holds the
operations and reads on it. Every write is an operation: a function of the writer's connection.
"""
