"""What the running service tells of itself: a log line for each unit of work, and metrics.

The state is pure and says what it decided in its instructions; here they become words and numbers.
"""

import structlog

from numaplace.model.ids import HostId
from numaplace.model.job import HomeChange
from numaplace.model.session import Resync
from numaplace.model.worth import Action
from numaplace.telemetry import events, keys
from scheduler.planning.records import Move, Stage
from scheduler.ports import StoreError
from scheduler.runtime.metrics import Metrics
from scheduler.state.events import AgentConnected, AgentLost, AgentReported, Event, SessionId
from scheduler.state.instructions import (
    CloseSession,
    Decided,
    Fault,
    Instruction,
    SendTo,
    StoreOrder,
    StoreOutcome,
    StorePolicy,
)

log = structlog.get_logger(__name__)

FAULT = "fault"


class Logbook:
    """Sees every event and instruction that the shell carries out."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._hosts: dict[SessionId, HostId] = {}

    def event(self, event: Event) -> None:
        """An event is about to be handled."""
        match event:
            case AgentConnected(session, hello):
                self._hosts[session] = hello.host
                self._metrics.sessions.inc()
                fields = {keys.HOST: hello.host, keys.INSTANCE: hello.instance, keys.VERSION: hello.agent_version}
                log.info(events.SESSION_OPENED, **fields)
            case AgentLost(session):
                log.info(events.SESSION_ENDED, **{keys.HOST: self._hosts.pop(session, None)})
            case AgentReported(session, _, HomeChange() as change):
                self._metrics.home_changes.labels(source=change.source.value).inc()
                log.info(
                    events.HOME_CHANGED,
                    **{
                        keys.HOST: self._hosts.get(session),
                        keys.TASK: change.task,
                        keys.HOME: sorted(change.home.nodes),
                        keys.HOME_PREVIOUS: sorted(change.previous_home),
                        keys.SOURCE: change.source.value,
                        keys.PID: change.actor.pid if change.actor else None,
                        keys.CHANGES: change.changes,
                    },
                )
            case _:
                pass

    def instruction(self, instruction: Instruction) -> None:
        """An instruction was carried out."""
        match instruction:
            case StoreOrder(move) if move.stage is Stage.PLANNED and not move.cancel:
                log.info(events.MOVE_ORDERED, **_move(move), **{keys.WORDS: move.reason})
            case StoreOutcome(move):
                self._ended(move)
            case Decided(key, job, verdict):
                self._metrics.decisions.labels(action=verdict.action.value, reason=verdict.reason.value).inc()
                if verdict.action is Action.LEAVE and verdict.remote_bytes:
                    fields = {keys.HOST: key.host, keys.JOB: job, keys.TASK: key.task}
                    log.info(
                        events.DRIFT_LEFT, **fields, **{keys.REASON: verdict.reason.value, keys.WORDS: verdict.words}
                    )
            case SendTo(_, Resync(reason)):
                self._metrics.resyncs.inc()
                log.warning(events.SESSION_RESYNCED, **{keys.REASON: reason})
            case CloseSession(_, cause, words):
                log.warning(events.SESSION_ENDED, **{keys.REASON: cause.value, keys.WORDS: words})
            case StorePolicy(job, policy):
                log.info(events.POLICY_CHANGED, **{keys.JOB: job, keys.POLICY: policy.mode.value})
            case Fault(host, kind, words):
                log.warning(FAULT, **{keys.HOST: host, keys.REASON: kind.value, keys.WORDS: words})
            case _:
                pass

    def _ended(self, move: Move) -> None:
        outcome = move.outcome
        if outcome is None:
            return
        self._metrics.move_ended(outcome)
        log.info(
            events.MOVE_FINISHED,
            **_move(move),
            **{
                keys.STATE: outcome.state.value,
                keys.WORDS: outcome.words,
                keys.BYTES_MOVED: outcome.moved_bytes,
                keys.LEFT: {reason.value: size for reason, size in outcome.left.items()},
                keys.SECONDS: outcome.seconds,
                keys.STALL_MS_MAX: outcome.stall_ms_max,
                keys.STRATEGY: outcome.strategy.value if outcome.strategy else None,
            },
        )

    def refused(self, peer: str, words: str) -> None:
        """A peer's message could not be understood."""
        self._metrics.messages_refused.inc()
        log.warning(events.MESSAGE_REFUSED, **{keys.PEER: peer, keys.WORDS: words})

    def called(self, method: str, status: str) -> None:
        """A person's or program's call was answered."""
        self._metrics.calls.labels(method=method, status=status).inc()
        log.debug(events.CALL_SERVED, **{keys.METHOD: method, keys.STATUS: status})

    def store_failed(self, error: StoreError) -> None:
        """The store did not take a write; it is tried again."""
        log.error(events.STORE_FAILED, **{keys.ERROR: error.words, keys.ADVICE: error.advice})


def _move(move: Move) -> dict[str, object]:
    return {keys.MOVE: move.id, keys.HOST: move.host, keys.JOB: move.job, keys.TASK: move.task}
