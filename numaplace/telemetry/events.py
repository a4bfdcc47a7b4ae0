"""Names of log events: what happened, in the past tense; details are fields (:mod:`numaplace.telemetry.keys`).

One canonical line per unit of work: a move is told by ``MOVE_FINISHED`` with its whole account, a session by its end.
"""

STARTED = "started"
STOPPED = "stopped"
CONFIGURATION_REFUSED = "configuration refused"
ABILITY_MISSING = "ability missing"
SESSION_OPENED = "session opened"
SESSION_ENDED = "session ended"
SESSION_RESYNCED = "session resynced"
MESSAGE_REFUSED = "message refused"
HOME_CHANGED = "home changed"
DRIFT_LEFT = "drift left"
MOVE_ORDERED = "move ordered"
MOVE_FINISHED = "move finished"
POLICY_CHANGED = "policy changed"
CALL_SERVED = "call served"
CALL_FAILED = "call failed"
STORE_FAILED = "store failed"
TLS_UNREADABLE = "tls unreadable"
