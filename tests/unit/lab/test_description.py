"""Descriptions of guests are read strictly: a guest that silently differs from its description would make tests lie."""

import pytest

from tests.lab.description import CPUS_MAX, Description, DescriptionError, NodeSpec, parse
from tests.lab.lab import describe, names

NODES = """
[[nodes]]
cpus = 2
memory_mb = 512

[[nodes]]
cpus = 1
memory_mb = 256
hugepages_2m = 8
"""
HEAD = 'kernel = "6.12"\ncgroup = "v2"\n'


def test_a_description_is_read_whole() -> None:
    """Every key of the file reaches the value, and ids default to the position."""
    text = (
        HEAD
        + 'summary = "s"\nmodules = ["ext4"]\nkernel_args = ["numa_balancing=0"]\ndistances = [[10, 30], [20, 10]]\n'
        + NODES
    )
    assert parse("a", text) == Description(
        name="a",
        kernel="6.12",
        cgroup="v2",
        nodes=(NodeSpec(0, 2, 512), NodeSpec(1, 1, 256, hugepages_2m=8)),
        distances=((10, 30), (20, 10)),
        modules=("ext4",),
        kernel_args=("numa_balancing=0",),
    )


def test_cpus_are_dealt_out_in_the_order_of_the_nodes() -> None:
    """A node's CPU numbers follow those of the nodes before it."""
    guest = parse("a", HEAD + NODES)
    assert [guest.cpus_of(node.id) for node in guest.nodes] == [(0, 1), (2,)]
    assert (guest.cpus, guest.memory_mb) == (3, 768)


@pytest.mark.parametrize("name", names())
def test_every_guest_of_the_project_is_valid(name: str) -> None:
    """The files in guests/ are descriptions, and each says what it is for."""
    assert describe(name).summary


def test_an_unknown_guest_is_refused_with_those_there_are() -> None:
    """A wrong name is answered with the right ones."""
    with pytest.raises(DescriptionError, match=r"no guest is named 'none'; there are: .*two-6\.12-v2"):
        describe("none")


@pytest.mark.parametrize("name", ["../etc", "Two", "", "a b", "a/b"])
def test_a_name_is_checked(name: str) -> None:
    """A name becomes part of command lines and of a host name."""
    with pytest.raises(DescriptionError, match="the name must be"):
        parse(name, HEAD + NODES)


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        ("kernel = ", "not valid TOML"),
        (HEAD, r"nodes must be a list of at least one"),
        (HEAD + "nodes = 3", r"nodes must be a list"),
        (HEAD + "nodes = [3]", r"nodes\[0\] must be a table"),
        (HEAD + "colour = 1\n" + NODES, "unknown keys: colour"),
        ('kernel = "5.10"\ncgroup = "v2"\n' + NODES, "kernel must be one of 6.1, 6.12, sid, not '5.10'"),
        ('kernel = "6.1"\n' + NODES, "cgroup must be one of v1, v2, not None"),
        (HEAD + 'summary = ["s"]\n' + NODES, "summary must be a string"),
        (HEAD + 'modules = "ext4"\n' + NODES, "modules must be a list of strings"),
        (HEAD + "kernel_args = [1]\n" + NODES, "kernel_args must be a list of strings"),
        (HEAD + "[[nodes]]\ncpus = 1", r"nodes\[0\] needs memory_mb"),
        (HEAD + "[[nodes]]\ncpus = true\nmemory_mb = 512", r"nodes\[0\]: cpus must be a whole number"),
        (HEAD + "[[nodes]]\ncpus = -1\nmemory_mb = 512", r"nodes\[0\]: cpus must be a whole number from 0"),
        (HEAD + "[[nodes]]\ncpus = 1\nmemory_mb = 512\nsize = 1", r"nodes\[0\] has unknown keys: size"),
        (HEAD + "[[nodes]]\ncpus = 1\nmemory_mb = 16", r"memory_mb must be 0 or at least 64"),
        (HEAD + "[[nodes]]\ncpus = 1\nmemory_mb = 512\nhugepages_2m = 200", "more than half its memory"),
        (HEAD + NODES + "[[nodes]]\ncpus = 0\nmemory_mb = 0", r"nodes\[2\] has neither CPUs nor memory"),
        (HEAD + NODES + "[[nodes]]\nid = 1\ncpus = 1\nmemory_mb = 512", "node ids must rise"),
        (HEAD + "[[nodes]]\nid = 1\ncpus = 1\nmemory_mb = 512", "the first node must have id 0"),
        (HEAD + "[[nodes]]\ncpus = 0\nmemory_mb = 512\n" + NODES, "node 0 needs CPUs and memory"),
        (HEAD + NODES + f"[[nodes]]\ncpus = {CPUS_MAX}\nmemory_mb = 512", "need 1 to 64 CPUs, not 67"),
        (HEAD + "distances = 10\n" + NODES, "distances must be a list of rows"),
        (HEAD + "distances = [[10, 20]]\n" + NODES, "distances must be 2 rows of 2"),
        (HEAD + "distances = [[10], [20, 10]]\n" + NODES, "distances must be 2 rows of 2"),
        (HEAD + "distances = [[11, 20], [20, 10]]\n" + NODES, r"distances\[0\]\[0\] must be 10"),
        (HEAD + "distances = [[10, 10], [20, 10]]\n" + NODES, r"distances\[0\]\[1\] must be a whole number from 11"),
        (HEAD + "distances = [[10, 255], [20, 10]]\n" + NODES, r"distances\[0\]\[1\] must be a whole number"),
        (HEAD.replace("6.12", "6.1") + NODES + "[[nodes]]\nid = 4\ncpus = 1\nmemory_mb = 512", "6.1 hangs at start"),
    ],
)
def test_what_cannot_be_a_guest_is_refused_by_name(text: str, refusal: str) -> None:
    """Each refusal names the file and what to change in it."""
    with pytest.raises(DescriptionError, match=rf"^bad: .*{refusal}"):
        parse("bad", text)
