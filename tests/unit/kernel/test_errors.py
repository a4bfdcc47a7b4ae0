"""errno is translated in one place, by call, and what is raised can be pickled and read."""

import errno
import pickle

import pytest

from numaplace.kernel import errors


@pytest.mark.parametrize(
    ("call", "number", "kind"),
    [
        ("move_pages", errno.ESRCH, errors.ProcessGone),
        ("move_pages", errno.EPERM, errors.Denied),
        ("move_pages", errno.EACCES, errors.OutsideCpuset),
        ("move_pages", errno.ENOMEM, errors.TargetFull),
        ("migrate_pages", errno.ENOMEM, errors.TargetFull),
        ("migrate_pages", errno.EPERM, errors.Denied),
        ("fanotify_init", errno.ENOMEM, errors.KernelCallError),
        ("reading numa_maps", errno.EACCES, errors.Denied),
        ("pidfd_open", errno.ENOSYS, errors.Unsupported),
        ("reading pressure", errno.EOPNOTSUPP, errors.Unsupported),
        ("PAGEMAP_SCAN", errno.ENOTTY, errors.Unsupported),
        ("move_pages", errno.ENODEV, errors.KernelCallError),
    ],
)
def test_errno_means_what_it_means_from_that_call(call: str, number: int, kind: type[errors.KernelCallError]) -> None:
    """The same errno has another class from another call; one without a class keeps its number."""
    error = errors.translate(call, number, 42)
    assert type(error) is kind
    assert (error.call, error.errno, error.pid) == (call, number, 42)
    assert "of pid 42" in str(error)


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ENODEV, errno.ENOTDIR])
def test_missing_file_is_unsupported_and_keeps_its_errno(number: int) -> None:
    """A file that is not there is a feature that is not there, said in the kernel's own words."""
    error = errors.translate_file("reading x", OSError(number, "x"))
    assert isinstance(error, errors.NoSuchFile)
    assert isinstance(error, errors.Unsupported)
    assert error.errno == number


def test_call_errors_survive_pickling() -> None:
    """An error that crosses to another process says the same there."""
    error = errors.translate("move_pages", errno.ENOMEM, 7)
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert (type(copy), str(copy), copy.pid, copy.errno) == (type(error), str(error), 7, errno.ENOMEM)


def test_format_errors_survive_pickling_and_cut_long_lines() -> None:
    """A hostile megabyte does not end up in a log line."""
    error = errors.KernelFormatError("numa_maps", "x" * 1_000_000)
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert str(copy) == str(error)
    assert len(str(error)) < 300
