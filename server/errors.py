"""Every failure that Puna can name.

    PunaError
    ├── InvalidRequest            400  the request is at fault
    │   ├── InvalidModelName
    │   ├── Unsupported                the model cannot do what was asked
    │   ├── ContextExceeded            the prompt is longer than the context
    │   ├── InvalidGguf                a model file that must not reach llama.cpp
    │   ├── InvalidTemplate            a chat template that cannot be parsed or rendered
    │   ├── InvalidDigest
    │   ├── DigestMismatch
    │   ├── InvalidModelfile
    │   ├── MoveRefused                the model folder cannot go where it was asked to
    │   └── LinkRefused                a file cannot be linked into the model folder
    ├── InvalidKey                401  no API key, or none that is known
    ├── KeyWanted                 401  a server did not let a client of ours in
    ├── Forbidden                 403  origin, host or a feature that is switched off
    │   └── ScopeTooLow                the API key may do less
    ├── NotFound                  404
    │   └── ModelNotFound
    │   └── KeyNotFound
    ├── KeyNameTaken              409
    ├── Cancelled                 499  the client left
    ├── NotImplementedYet         501  known to the API, not built yet
    ├── ServerBusy                503  the queue is full
    ├── ServerStopping            503  the server is shutting down
    ├── InvalidAnswer             500  the model wrote a tool call that cannot be read
    ├── StoreError                500  the model folder could not be read or written
    │   ├── DiskFull              507
    │   ├── LinkedFileLost             a model's file, which another program owns, is gone or has changed
    │   ├── FolderMissing         503  the model folder was there once and is not now
    │   └── FolderMoving          503  the model folder is on its way to another place
    ├── KeysUnreadable            503  where the API keys are kept could not be read or written
    ├── RegistryError             500  a registry could not be reached, refused, or sent what cannot be used
    │   └── AddressRefused        403  it has an address that Puna does not connect to unasked
    ├── SearchFailed              502  the search engine that PUNA_SEARCH_URL names did not do its part
    ├── DownloadRuns              409  it cannot be cleared or begun while somebody downloads it
    ├── RunnerError               500
    │   ├── RunnerStartFailed          a model could not be loaded
    │   │   └── OutOfMemory                because memory did not suffice; a smaller plan may work
    │   └── RunnerDied                 the process that held the model ended
    ├── ServerUnreachable         502  a client of ours could not talk to the server
    │   └── ServerNotRunning           nothing listens at its address
    └── InvalidSetting                 the start stops with this sentence

`str(error)` is the user's sentence. `error.log` is the log's sentence, which may hold paths and native output; it is
the user's sentence where nothing more is known. Exceptions of libraries become ours at the module that calls them.
"""

from __future__ import annotations


class PunaError(Exception):
    """Something went wrong; the server's log says what."""

    status = 500

    def __init__(self, message: str = "", *, log: str = "", status: int | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())
        self.log = log or str(self)
        if status is not None:
            self.status = status

    @property
    def kind(self) -> str:
        """The class name, which crosses the pipe between runner and server."""
        return type(self).__name__


class InvalidRequest(PunaError):
    """The request is not valid."""

    status = 400


class InvalidModelName(InvalidRequest):
    """invalid model name"""


class Unsupported(InvalidRequest):
    """This model does not support what was asked of it."""


class ContextExceeded(InvalidRequest):
    """the prompt is longer than the context length currently available to the model; shorten the prompt, adjust the context length in settings, or use a model with a longer context length"""  # noqa: E501


class InvalidGguf(InvalidRequest):
    """The file is not a GGUF model that can be loaded."""


class InvalidTemplate(InvalidRequest):
    """The chat template cannot be used; check its text."""


class InvalidDigest(InvalidRequest):
    """invalid digest format"""


class DigestMismatch(InvalidRequest):
    """The data does not have the digest that was announced for it."""


class InvalidModelfile(InvalidRequest):
    """The Modelfile cannot be understood."""

    line = 0  # where, from 1; 0 where that is not known


class MoveRefused(InvalidRequest):
    """The model folder cannot be moved there."""


class LinkRefused(InvalidRequest):
    """The file cannot be linked into the model folder; make the model with `puna create`, which copies it."""


class InvalidKey(PunaError):
    """Invalid API Key"""

    status = 401


class KeyWanted(PunaError):
    """The server wants an API key."""

    status = 401


class Forbidden(PunaError):
    """This request is not allowed."""

    status = 403


class ScopeTooLow(Forbidden):
    """The API key may not do this."""


class NotFound(PunaError):
    """There is nothing of this name."""

    status = 404


class ModelNotFound(NotFound):
    """There is no model of this name; `puna list` shows those that are installed."""


class KeyNotFound(NotFound):
    """There is no API key of this name; `puna keys list` shows them."""


class KeyNameTaken(PunaError):
    """There is an API key of this name already."""

    status = 409


class Cancelled(PunaError):
    """request canceled"""

    status = 499


class NotImplementedYet(PunaError):
    """Puna does not do this yet."""

    status = 501


class ServerBusy(PunaError):
    """server busy, please try again.  maximum pending requests exceeded"""

    status = 503
    retry_after_seconds = 1  # goes out as the Retry-After header


class ServerStopping(PunaError):
    """The server is stopping and takes no more requests; try again when it runs again."""

    status = 503
    retry_after_seconds = 5  # goes out as the Retry-After header


class InvalidAnswer(PunaError):
    """The model wrote a tool call that cannot be read; ask again."""


class StoreError(PunaError):
    """The model folder could not be read or written."""


class DiskFull(StoreError):
    """The disk is full; nothing was changed. Free some space and try again."""

    status = 507


class LinkedFileLost(StoreError):
    """A file of this model, which was imported where it is, is gone or has changed; `puna show` names it."""


class FolderMissing(StoreError):
    """The model folder is not there; attach its drive, or name another folder in the settings."""

    status = 503


class FolderMoving(StoreError):
    """The model folder is being moved; try again when that is done."""

    status = 503
    retry_after_seconds = 5  # goes out as the Retry-After header


class KeysUnreadable(PunaError):
    """The API keys could not be read; the server's log says why."""

    status = 503


class RegistryError(PunaError):
    """The registry could not be used; check its name and your network, and try again."""


class AddressRefused(RegistryError):
    """This registry has an address in a private network; list it in PUNA_REGISTRIES if you trust it."""

    status = 403


class SearchFailed(PunaError):
    """The web search failed; is PUNA_SEARCH_URL right, and does the search engine run?"""

    status = 502

    def __init__(self, message: str = "", *, code: str = "api_error", log: str = "", status: int | None = None) -> None:
        super().__init__(message, log=log, status=status)
        self.code = code  # OpenAI's word for it


class DownloadRuns(PunaError):
    """download already in progress"""

    status = 409


class RunnerError(PunaError):
    """The process that runs the model reported an error."""


class RunnerStartFailed(RunnerError):
    """The model could not be loaded."""


class OutOfMemory(RunnerStartFailed):
    """There is not enough memory to load the model."""


class RunnerDied(RunnerError):
    """The process that ran the model has ended; the next request starts a new one."""


class ServerUnreachable(PunaError):
    """The server could not be reached."""

    status = 502


class ServerNotRunning(ServerUnreachable):
    """could not connect to the Puna server, run 'puna serve' to start it"""


class InvalidSetting(PunaError):
    """A setting has a value that is not allowed."""


def subclasses(root: type[PunaError] = PunaError) -> dict[str, type[PunaError]]:
    """Name to class of the whole tree."""
    found = {root.__name__: root}
    for child in root.__subclasses__():
        found |= subclasses(child)
    return found


def from_kind(kind: str, message: str, *, log: str = "", status: int | None = None) -> PunaError:
    """The error that a runner reported by name; an unknown name becomes a RunnerError."""
    return subclasses().get(kind, RunnerError)(message, log=log, status=status)
