"""HTTP to elsewhere: which addresses may be reached, connections that are checked before they are dialled."""
