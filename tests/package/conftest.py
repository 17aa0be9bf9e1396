"""The program as people install it, built once for all processes that test."""

from __future__ import annotations

import importlib.util
import os
import pathlib
import shutil
import subprocess
import sys

import pytest
from filelock import FileLock

ROOT = pathlib.Path(__file__).parents[2]
BUILD_SECONDS = 500
# A folder that was built before, to be tested as it is; it is copied.
READY_MADE = "PUNA_PACKAGE"


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> pathlib.Path:
    """The folder of both programs, at a place where it was not built, and whose name has spaces and accents."""
    if not sys.platform.startswith("linux"):
        pytest.skip("these tests know Linux alone")
    ready = os.environ.get(READY_MADE)
    if not ready and importlib.util.find_spec("PyInstaller") is None:
        pytest.skip("PyInstaller is not installed; `make test` brings it")
    if not ready and not _has_shared_python():
        pytest.skip("this Python has no shared library, which PyInstaller needs")
    base = tmp_path_factory.getbasetemp()
    base = base if getattr(request.config, "workerinput", None) is None else base.parent
    folder = base / "Puna für alle" / "puna"
    with FileLock(base / "package.lock"):
        if not folder.exists():
            folder.parent.mkdir()
            if ready:
                shutil.copytree(ready, folder, symlinks=True)
            else:
                _build(base / "package").rename(folder)
    return folder


def _has_shared_python() -> bool:
    from PyInstaller.depend import bindepend
    from PyInstaller.exceptions import PythonLibraryNotFoundError

    try:
        return bool(bindepend.get_python_library_path())
    except PythonLibraryNotFoundError:
        return False


def _build(work: pathlib.Path) -> pathlib.Path:
    command = [sys.executable, "-m", "PyInstaller", "--noconfirm", "--log-level", "WARN"]
    command += ["--distpath", str(work / "dist"), "--workpath", str(work / "build"), str(ROOT / "build.spec")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return work / "dist/puna"
