"""Places: how many streams may be open at once, of one owner and of everybody.

A place is taken before the first await of a request: those that come at once must not pass
together.
"""

from __future__ import annotations

from orchestrator.errors import LimitExceeded, Overloaded

WHAT = "open streams"


class Places:
    """The places of a process.

    Args:
        most: How many there are.
        most_per_owner: How many of them one owner may take.
    """

    def __init__(self, *, most: int, most_per_owner: int) -> None:
        self._most = most
        self._most_per_owner = most_per_owner
        self._owners: dict[str, int] = {}
        self.taken = 0
        """How many are taken; more than there are when repeats of accepted requests came."""

    def take(self, owner: str, *, always: bool = False) -> None:
        """Take one.

        Args:
            owner: For whom.
            always: Whatever the limits are.

        Raises:
            LimitExceeded: The owner has as many as one may have.
            Overloaded: Everybody together has.
        """
        taken = self._owners.get(owner, 0)
        if not always:
            if taken >= self._most_per_owner:
                raise LimitExceeded(WHAT, self._most_per_owner)
            if self.taken >= self._most:
                raise Overloaded(WHAT, self._most)
        self._owners[owner] = taken + 1
        self.taken += 1

    def give_back(self, owner: str) -> None:
        """Give one back."""
        self.taken -= 1
        if left := self._owners.pop(owner) - 1:
            self._owners[owner] = left


class Place:
    """A place for one stream of one owner; given back when its block is left."""

    __slots__ = ("_owner", "_places", "_taken")

    def __init__(self, places: Places, owner: str) -> None:
        self._places = places
        self._owner = owner
        self._taken = False

    def __enter__(self) -> Place:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._taken:
            self._places.give_back(self._owner)

    def take(self) -> None:
        """Take it.

        Raises:
            LimitExceeded: The owner has as many as one may have.
            Overloaded: Everybody together has.
        """
        self._places.take(self._owner)
        self._taken = True

    def keep(self) -> None:
        """Take it whatever the limits are, unless it is taken: a repeated POST is a read."""
        if not self._taken:
            self._places.take(self._owner, always=True)
            self._taken = True
