"""The client of our own server, for the command line and the app."""

from server.client.client import Client, file_digest
from server.client.identity import Identity, Owner, identify, owner_of
from server.client.streams import Stream

__all__ = ["Client", "Identity", "Owner", "Stream", "file_digest", "identify", "owner_of"]
