"""Cpusets as commands find, read and write them, on hosts as files."""

import shutil
from pathlib import Path

import pytest

from numaplace.cli import exits
from numaplace.cli.cpuset_files import CpusetFiles
from numaplace.kernel.errors import ProcessGone
from numaplace.kernel.procfs import ProcessId, read_identity
from numaplace.model.cpuset import parse_cpus
from numaplace.model.handover import Attach, WriteCpus, WriteMems
from tests.fakes.samples import nodes
