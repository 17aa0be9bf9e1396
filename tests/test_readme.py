"""The README says what the code does."""

from __future__ import annotations

import pathlib

from starlette.routing import Route

from server.api.app import ROUTES
from server.api.wire_routes import Unlisted
from server.cli.main import ALIASES, COMMANDS
from server.store.foreign import FAMILIES

README = (pathlib.Path(__file__).parents[1] / "README.md").read_text("utf-8")


def test_every_route_is_in_the_table() -> None:
    rows = [line for line in README.splitlines() if line.startswith("| `/")]
    listed = [route for route in ROUTES if isinstance(route, Route) and not isinstance(route.endpoint, Unlisted)]
    missing = [route.path for route in listed if not _is_told(route.path, rows)]
    assert not missing


def _is_told(path: str, rows: list[str]) -> bool:
    return any(f"`{path}`" in row for row in rows)


def test_everyday_use_names_only_commands_that_exist() -> None:
    lines = README.split("## Everyday use")[1].split("## Settings")[0].splitlines()
    words = [part.split()[1] for line in lines for part in line.split("&&") if part.strip().startswith("puna ")]
    assert words
    assert set(words) <= {name for name, _, _ in COMMANDS} | set(ALIASES)


def test_every_family_of_the_old_engine_is_in_the_table() -> None:
    table = README.split("`general.architecture` of the old file")[1].split("\n\n")[0]
    assert all(f"`{name}`" in table for family in FAMILIES for name in family.architectures)
