"""GGUF files that other programs keep, registered where they are."""

from server.store.importing.importer import ImportLine, import_files, preview
from server.store.importing.places import SOURCES, Source, folders
from server.store.importing.plan import Candidate, Plan, make_plan

__all__ = ["SOURCES", "Candidate", "ImportLine", "Plan", "Source", "folders", "import_files", "make_plan", "preview"]
