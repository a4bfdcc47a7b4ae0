"""How many moves by hand there may be at once: of all callers, and of each, so that nobody keeps others from theirs.

A place is taken before anything of a request is read, since a list of pages is large, and held until nothing of its
move runs any more, which may be later than its caller is gone. A prediction takes one too.
"""

from collections import Counter
from collections.abc import Callable

from node_agent.rpc.workers import TooManyCallsError


class Places:
    """The places; ``own_uid`` is the agent's, which counts as root. Used on one event loop.

    A quarter of them is root's, who must get through whatever users do, and a user has half of them at the most.
    """

    def __init__(self, own_uid: int, places: int) -> None:
        self._privileged = frozenset({0, own_uid})
        self._max = places
        self._of_users_max = places - places // 4
        self._of_uid_max = places // 2
        self._taken: Counter[int] = Counter()

    @property
    def taken(self) -> int:
        """How many are taken."""
        return self._taken.total()

    def enter(self, uid: int) -> Callable[[], None]:
        """Take a place; call what is returned to leave it, however often. Raises TooManyCallsError."""
        users = sum(count for user, count in self._taken.items() if user not in self._privileged)
        full = self.taken >= self._max
        if uid not in self._privileged:
            full = full or users >= self._of_users_max or self._taken[uid] >= self._of_uid_max
        if full:
            raise TooManyCallsError("too many moves by hand are under way on this host; ask again when some ended")
        self._taken[uid] += 1
        held = [uid]

        def leave() -> None:
            if held:
                self._taken[held.pop()] -= 1

        return leave
