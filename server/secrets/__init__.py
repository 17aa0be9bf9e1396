"""API keys: what is kept of them and where, what one may do, and the token of the server's own user."""

from server.secrets.keys import Key, Keys
from server.secrets.local_token import LocalToken
from server.secrets.scopes import SCOPES, Scope, includes

__all__ = ["SCOPES", "Key", "Keys", "LocalToken", "Scope", "includes"]
