"""Moving the model folder to another place."""

from server.store.moving.journal import Journal, MoveRecord
from server.store.moving.move import Mover

__all__ = ["Journal", "MoveRecord", "Mover"]
