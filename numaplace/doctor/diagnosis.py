"""All rules in the order in which a person reads them: the host, the rights, the kernel, the memory, the company."""

from numaplace.doctor import company, features, memory, nodes, rights
from numaplace.doctor.facts import Facts
from numaplace.doctor.finding import Finding
from numaplace.doctor.rule import Rule

RULES: tuple[Rule, ...] = (*nodes.RULES, *rights.RULES, features.findings, *memory.RULES, *company.RULES)


def diagnose(facts: Facts) -> tuple[Finding, ...]:
    """What there is to say of a host; pure."""
    return tuple(finding for rule in RULES for finding in rule(facts))
