"""One app per user and data folder: the first one listens, a second one hands over its arguments and leaves."""

from __future__ import annotations

import getpass
import hashlib
import json
import logging
import pathlib

from PySide6.QtCore import QDeadlineTimer, QLockFile, QObject, QSysInfo, Signal
from PySide6.QtNetwork import QLocalServer, QLocalSocket

from server.errors import PunaError

log = logging.getLogger(__name__)

CONNECT_MILLISECONDS = 500
ANSWER_MILLISECONDS = 3_000
HANDOVER_MILLISECONDS = 5_000
MESSAGE_BYTES = 64 * 1024
_ACCEPTED = b"shown\n"


class AppRunsAlready(PunaError):
    """Puna runs already, but does not answer. End it in the task manager and start Puna again."""


class Instance(QObject):
    """`called` brings the arguments of a later start."""

    called = Signal(list)

    def __init__(self, data_dir: pathlib.Path, parent: QObject | None = None) -> None:
        super().__init__(parent)
        data_dir.mkdir(parents=True, exist_ok=True)
        self.name = instance_name(getpass.getuser(), data_dir)
        # A folder may be shared by machines, each with an app of its own; and the owner of a lock can be looked up on
        # its own machine alone.
        self._lock = QLockFile(str(data_dir / f"app-{QSysInfo.machineHostName()}.lock"))
        # Stale is what a dead process left behind, however old or young it is.
        self._lock.setStaleLockTime(0)
        self._server = QLocalServer(self)
        self._server.setSocketOptions(QLocalServer.SocketOption.UserAccessOption)
        self._server.newConnection.connect(self._accept)

    def claim(self, arguments: list[str]) -> bool:
        """True: this is the first app, and it listens now. False: the first has taken over `arguments`.

        Waits up to HANDOVER_MILLISECONDS for a first app that is just starting or ending. Raises AppRunsAlready.
        """
        deadline = QDeadlineTimer(HANDOVER_MILLISECONDS)
        while True:
            if self._hand_over(arguments):
                return False
            if self._lock.tryLock(100):
                self._listen()
                return True
            if deadline.hasExpired():
                raise AppRunsAlready()

    def release(self) -> None:
        self._server.close()
        self._lock.unlock()

    def _listen(self) -> None:
        # Safe only now: the lock says that no living app owns a socket of this name.
        QLocalServer.removeServer(self.name)
        if not self._server.listen(self.name):
            log.warning("a second start cannot reach this app: %s", self._server.errorString())

    def _hand_over(self, arguments: list[str]) -> bool:
        socket = QLocalSocket()
        socket.connectToServer(self.name)
        if not socket.waitForConnected(CONNECT_MILLISECONDS):
            return False
        socket.write(json.dumps(arguments).encode() + b"\n")
        answered = socket.waitForReadyRead(ANSWER_MILLISECONDS)
        accepted = answered and bytes(socket.readAll().data()) == _ACCEPTED
        socket.disconnectFromServer()
        return accepted

    def _accept(self) -> None:
        while socket := self._server.nextPendingConnection():
            socket.disconnected.connect(socket.deleteLater)
            socket.readyRead.connect(lambda socket=socket: self._read(socket))
            self._read(socket)

    def _read(self, socket: QLocalSocket) -> None:
        if socket.bytesAvailable() > MESSAGE_BYTES:
            socket.abort()
            return
        if not socket.canReadLine():
            return
        arguments = read_arguments(bytes(socket.readLine().data()))
        socket.write(_ACCEPTED)
        socket.flush()
        self.called.emit(arguments)


def instance_name(user: str, data_dir: pathlib.Path) -> str:
    """The same for every start of one user on one data folder; short enough for a socket's path."""
    key = f"{user}\n{data_dir}".encode()
    return f"puna-{hashlib.sha256(key).hexdigest()[:16]}"


def read_arguments(line: bytes) -> list[str]:
    """What a second start sent; nothing for anything else."""
    try:
        value = json.loads(line)
    except ValueError:
        return []
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
