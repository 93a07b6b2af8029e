"""The runtime: what keeps tasks going, whoever watches.

`service` is what others call; `worker` runs tasks and `recorder` stores their events; `channels`
hands committed events to readers; `dispatch` says which task is next; `recovery` cleans up after
a process that died.
"""
