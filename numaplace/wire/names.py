"""Resource names (hosts/{host}, jobs/{job}, moves/{move}, policies/{job}) and times on the wire.

A job may itself contain slashes (a cgroup's path), so a name is its collection's prefix and whatever follows.
"""

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from numaplace.model.ids import HostId, JobId, MoveId
from numaplace.model.views import DEFAULT_POLICY
from numaplace.wire import checks
from numaplace.wire.checks import WireError

HOSTS = "hosts/"
JOBS = "jobs/"
MOVES = "moves/"
POLICIES = "policies/"


def host_id(name: str, at: str) -> HostId:
    """The host that ``hosts/{host}`` names; raises WireError."""
    return HostId(checks.name(_after(HOSTS, name, at), at, checks.NAME_CHARS_MAX))


def job_id(name: str, at: str) -> JobId:
    """The job that ``jobs/{job}`` names; raises WireError."""
    return JobId(_after(JOBS, name, at))


def move_id(name: str, at: str) -> MoveId:
    """The move that ``moves/{move}`` names; raises WireError."""
    return MoveId(_after(MOVES, name, at))


def policy_job(name: str, at: str) -> JobId | None:
    """The job whose policy ``policies/{job}`` is, None for ``policies/default``; raises WireError."""
    job = _after(POLICIES, name, at)
    return None if job == DEFAULT_POLICY else JobId(job)


def policy_name(job: JobId | None) -> str:
    """The name of a job's policy, or of the default."""
    return f"{POLICIES}{DEFAULT_POLICY if job is None else job}"


def parent(name: str, at: str) -> HostId | JobId | None:
    """The host or job that a list is narrowed to, None for all; raises WireError. Tell them apart by the prefix."""
    if not name:
        return None
    return host_id(name, at) if name.startswith(HOSTS) else job_id(name, at)


def _after(prefix: str, name: str, at: str) -> str:
    checks.name(name, at, checks.ID_CHARS_MAX + len(prefix))
    if not name.startswith(prefix) or name == prefix:
        raise WireError(at, f"must be {prefix}…, not {checks.clean(name, 80)!r}")
    return name.removeprefix(prefix)


def timestamp(time: datetime | None) -> Timestamp | None:
    """A time as it is sent."""
    if time is None:
        return None
    sent = Timestamp()
    sent.FromDatetime(time)
    return sent


def time_of(message: Timestamp, at: str) -> datetime:
    """A time as it was sent; raises WireError if it is outside the calendar."""
    try:
        return message.ToDatetime(UTC)
    except (ValueError, OverflowError) as error:
        raise WireError(at, "is no time of the calendar") from error
