"""A real keychain: GNOME's, on a message bus of its own. Other systems have theirs, which no test may fill."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from tests.secrets.keychains import NO_KEYCHAIN

ROOT = pathlib.Path(__file__).parents[2]
STEPS = """
import pathlib, sys
import keyring
from server.secrets import Keys
from server.secrets.keychain import SERVICE

path = pathlib.Path(sys.argv[1])
key, text = Keys(path).add("a", "use")
assert Keys(path).list()[0].sha256 == ""
assert len(keyring.get_password(SERVICE, key.id)) == 64
fresh = Keys(path)
assert fresh.find(text.encode()).name == "a"
assert fresh.find(b"nonsense") is None
fresh.revoke("a")
assert keyring.get_password(SERVICE, key.id) is None
assert fresh.find(text.encode()) is None
print("done")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="GNOME's is for Linux")
def test_the_secret_service_keeps_hashes(tmp_path: pathlib.Path) -> None:
    if not shutil.which("gnome-keyring-daemon") or not shutil.which("dbus-run-session"):
        pytest.fail("this test needs a real keychain: sudo apt-get install gnome-keyring dbus")
    runtime = tmp_path / "run"
    runtime.mkdir(mode=0o700)
    environ = {name: value for name, value in os.environ.items() if name != "DBUS_SESSION_BUS_ADDRESS"}
    environ |= {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(runtime), "PYTHONPATH": str(ROOT)}
    script = 'printf pw | gnome-keyring-daemon --unlock --components=secrets >/dev/null && exec "$@"'
    command = ["dbus-run-session", "--", "sh", "-c", script, "sh", sys.executable, "-c", STEPS, tmp_path / "keys.json"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)
    assert done.stdout.endswith("done\n"), done.stderr


def test_whoever_wants_no_keychain_gets_none() -> None:
    """Null, or a plug-in that is no more than a file: ours is one already."""
    code = "from server.secrets.keychain import SystemKeychain; print(SystemKeychain().is_there())"
    for backend in (NO_KEYCHAIN["PYTHON_KEYRING_BACKEND"], "keyring.backends.fail.Keyring", "no.such.Backend"):
        environ = {**os.environ, "PYTHON_KEYRING_BACKEND": backend, "PYTHONPATH": str(ROOT)}
        done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, timeout=60)
        assert done.stdout == "False\n", done.stderr
