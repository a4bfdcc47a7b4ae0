"""What apt says is read strictly, and what lies in the cache is whole."""

from pathlib import Path

import pytest

from tests.lab.packages import Package, PackageError, cache_folder, parse_package, placed

SHOWN = """Package: linux-image-9-amd64
Version: 9.1-1~bpo12+1
Pre-Depends: linux-base (>= 4.17~)
Depends: dracut | initramfs-tools (>= 0.120), linux-binary-9-amd64 (= 9.1-1), linux-modules-9-amd64
Description: a kernel
 with more: words

Package: linux-image-9-amd64
Version: 8
"""


def test_a_package_is_read_from_its_first_paragraph() -> None:
    """Of alternatives the first, without versions."""
    assert parse_package(SHOWN) == Package(
        "linux-image-9-amd64", "9.1-1~bpo12+1", ("dracut", "linux-binary-9-amd64", "linux-modules-9-amd64")
    )


def test_a_package_may_depend_on_nothing() -> None:
    """The field is then missing."""
    assert parse_package("Package: a\nVersion: 1\n").depends == ()


@pytest.mark.parametrize("text", ["", "N: No packages found\n", "Package: a\n"])
def test_what_is_no_package_is_refused(text: str) -> None:
    """An empty or cut answer is an error, not a package without a version."""
    with pytest.raises(PackageError, match="showed no package"):
        parse_package(text)


def test_a_folder_takes_its_place_whole(tmp_path: Path) -> None:
    """It replaces what was there, and leaves no scratch folder."""
    target = tmp_path / "kernels" / "9"
    for content in ("old", "new"):
        with placed(target) as scratch:
            (scratch / "file").write_text(content)
    assert (target / "file").read_text() == "new"
    assert list(target.parent.iterdir()) == [target]


def test_a_folder_that_failed_takes_no_place(tmp_path: Path) -> None:
    """What was there stays."""
    target = tmp_path / "9"
    with placed(target) as scratch:
        (scratch / "file").write_text("old")
    with pytest.raises(FileNotFoundError), placed(target) as scratch:
        (scratch / "missing" / "file").write_text("half")
    assert (target / "file").read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_the_cache_is_where_the_user_wants_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """XDG_CACHE_HOME is honoured, and the folder is made."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "c"))
    assert cache_folder() == tmp_path / "c" / "numaplace" / "lab"
    assert cache_folder().is_dir()
