"""Policies on the wire, and the set of them that an agent follows by."""

from numaplace.model.ids import JobId
from numaplace.model.policy import Budget, FollowMode, Policy
from numaplace.model.residency import PageKind
from numaplace.model.session import PolicySet
from numaplace.v1 import session_pb2
from numaplace.v1 import types_pb2 as pb
from numaplace.wire import checks
from numaplace.wire.checks import EnumTable, WireError

KINDS_MAX = 16
JOBS_MAX = 100_000

FOLLOW_MODES = EnumTable(FollowMode, pb.FollowMode, "FOLLOW_MODE_")
PAGE_KINDS = EnumTable(PageKind, pb.PageKind, "PAGE_KIND_")


def budget_to_proto(budget: Budget) -> pb.Budget:
    """A budget as it is sent: no limit to the pace is a zero."""
    return pb.Budget(
        pace_bytes_per_s=budget.pace_bytes_per_s or 0,
        stall_ms_max=budget.stall_ms_max,
        headroom_bytes=budget.headroom_bytes,
    )


def budget_from_proto(message: pb.Budget, at: str = "budget") -> Budget:
    """A budget as it was sent; raises WireError."""
    pace = checks.size_bytes(message.pace_bytes_per_s, f"{at}.pace_bytes_per_s")
    stall_ms_max = checks.number(message.stall_ms_max, f"{at}.stall_ms_max")
    headroom = checks.size_bytes(message.headroom_bytes, f"{at}.headroom_bytes")
    try:
        return Budget(pace or None, stall_ms_max, headroom)
    except ValueError as error:
        raise WireError(at, str(error)) from error


def policy_to_proto(policy: Policy) -> pb.Policy:
    """A policy as it is sent."""
    return pb.Policy(
        mode=FOLLOW_MODES.to_proto(policy.mode),
        kinds=sorted(PAGE_KINDS.to_proto(kind) for kind in policy.kinds),
        budget=budget_to_proto(policy.budget),
        settle_s=policy.settle_s,
        later_s=policy.later_s,
        min_remote_bytes=policy.min_remote_bytes,
        min_locality_gain=policy.min_locality_gain,
        min_age_s=policy.min_age_s,
        keep_interleave=policy.keep_interleave,
    )


def policy_from_proto(message: pb.Policy, at: str = "policy") -> Policy:
    """A policy as it was sent; raises WireError. Every part must be there: a zero is a zero, not a default."""
    checks.present(message, "budget", at)
    checks.entries(message.kinds, f"{at}.kinds", KINDS_MAX)
    fields = {
        "settle_s": checks.number(message.settle_s, f"{at}.settle_s"),
        "later_s": checks.number(message.later_s, f"{at}.later_s"),
        "min_locality_gain": checks.number(message.min_locality_gain, f"{at}.min_locality_gain"),
        "min_age_s": checks.number(message.min_age_s, f"{at}.min_age_s"),
    }
    mode = FOLLOW_MODES.from_proto(message.mode, f"{at}.mode")
    kinds = frozenset(PAGE_KINDS.from_proto(kind, f"{at}.kinds") for kind in message.kinds)
    budget = budget_from_proto(message.budget, f"{at}.budget")
    least = checks.size_bytes(message.min_remote_bytes, f"{at}.min_remote_bytes")
    try:
        return Policy(mode, kinds, budget, min_remote_bytes=least, keep_interleave=message.keep_interleave, **fields)
    except ValueError as error:
        raise WireError(at, str(error)) from error


def policies_to_proto(policies: PolicySet) -> session_pb2.SetPolicies:
    """A set of policies as it is sent."""
    by_job = {str(job): policy_to_proto(policy) for job, policy in policies.by_job.items()}
    return session_pb2.SetPolicies(default_policy=policy_to_proto(policies.default), by_job=by_job)


def policies_from_proto(message: session_pb2.SetPolicies, at: str = "set_policies") -> PolicySet:
    """A set of policies as it was sent; raises WireError."""
    checks.present(message, "default_policy", at)
    checks.entries(message.by_job, f"{at}.by_job", JOBS_MAX)
    return PolicySet(
        policy_from_proto(message.default_policy, f"{at}.default_policy"),
        {
            JobId(checks.name(job, f"{at}.by_job")): policy_from_proto(policy, f"{at}.by_job")
            for job, policy in message.by_job.items()
        },
    )
