"""Writing the settings file."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.errors import InvalidSetting
from server.settings import load, write

BEFORE = """# my machine
max_queue = 1  # one at a time
keep_alive_seconds = "10m"

[app]
language = "ja"  # for the window
"""


def test_comments_and_foreign_tables_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(BEFORE, encoding="utf-8")
    write(
        {
            "max_queue": 7,
            "OLLAMA_NOPRUNE": "yes",
            "origins": ["app://*"],
            "host": "0.0.0.0",
            "keep_alive_seconds": None,
        },
        file,
    )
    text = file.read_text(encoding="utf-8")
    assert text.startswith("# my machine\nmax_queue = 7  # one at a time\n")
    assert text.endswith('[app]\nlanguage = "ja"  # for the window\n')
    settings = load({}, file, cloud_file=tmp_path / "none.json")
    assert settings.value("max_queue").source == "file"
    assert (settings.max_queue, settings.noprune, settings.origins, settings.host, settings.keep_alive_seconds) == (
        7,
        True,
        ("app://*",),
        "0.0.0.0",
        300.0,
    )


def test_a_bad_value_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(BEFORE, encoding="utf-8")
    with pytest.raises(InvalidSetting, match="OLLAMA_NUM_PARALLEL"):
        write({"max_queue": 2, "num_parallel": "many"}, file)
    with pytest.raises(InvalidSetting, match="colour"):
        write({"max_queue": 2, "colour": "red"}, file)
    assert file.read_text(encoding="utf-8") == BEFORE


def test_the_folder_is_made_and_nothing_else_is_left(tmp_path: Path) -> None:
    file = tmp_path / "a" / "b" / "settings.toml"
    write({"models_dir": Path("/data/models")}, file)
    assert [entry.name for entry in file.parent.iterdir()] == ["settings.toml"]
    assert load({}, file, cloud_file=tmp_path / "none.json").models_dir == Path("/data/models").absolute()


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    real = tmp_path / "dotfiles" / "puna.toml"
    real.parent.mkdir()
    real.write_text("max_queue = 1\n", encoding="utf-8")
    link = tmp_path / "settings.toml"
    link.symlink_to(real)
    write({"max_queue": 2}, link)
    assert link.is_symlink()
    assert real.read_text(encoding="utf-8") == "max_queue = 2\n"


def test_a_folder_in_the_place_of_the_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.mkdir()
    with pytest.raises(InvalidSetting, match=r"settings\.toml cannot be written"):
        write({"max_queue": 2}, file)
