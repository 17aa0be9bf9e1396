"""The table and everything made of it agree."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from server.settings import GROUPS, SETTINGS, Settings, help_rows, markdown_table, runner_environ

ROOT = Path(__file__).parents[2]
VISIBLE_ORDER = (
    "OLLAMA_DEBUG", "OLLAMA_HOST", "OLLAMA_CONTEXT_LENGTH", "OLLAMA_KEEP_ALIVE", "OLLAMA_MAX_LOADED_MODELS",
    "OLLAMA_MAX_QUEUE", "OLLAMA_MODELS", "OLLAMA_NUM_PARALLEL", "OLLAMA_NO_CLOUD", "OLLAMA_NOPRUNE", "OLLAMA_ORIGINS",
    "OLLAMA_SCHED_SPREAD", "OLLAMA_FLASH_ATTENTION", "OLLAMA_KV_CACHE_TYPE", "OLLAMA_GPU_OVERHEAD",
    "OLLAMA_LOAD_TIMEOUT", "PUNA_DOWNLOAD_PARTS", "PUNA_DOWNLOAD_SPEED", "PUNA_REGISTRIES", "PUNA_REQUIRE_KEY",
    "PUNA_MODEL_ALIASES", "PUNA_METRICS", "PUNA_LONG_PROMPTS", "PUNA_SEARCH_URL", "PUNA_REMOTE_IMAGES",
)  # fmt: skip


def test_names_are_unique_and_known_to_the_structure() -> None:
    fields = set(Settings.__struct_fields__)
    assert {setting.attribute for setting in SETTINGS} <= fields
    for attribute in ("env", "attribute", "flag"):
        names = [getattr(setting, attribute) for setting in SETTINGS]
        assert len(set(names)) == len(names)
    assert {setting.group for setting in SETTINGS} == set(GROUPS)


def test_help_keeps_the_order_that_people_know() -> None:
    """runtime 21"""
    assert tuple(name for name, _ in help_rows()) == VISIBLE_ORDER


def test_serve_help_is_made_of_the_table() -> None:
    """cli 8: the environment variables end the help; every setting is a flag too."""
    result = subprocess.run(
        [sys.executable, "-m", "server.cli.main", "serve", "--help"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    head, _, tail = result.stdout.partition("Environment Variables:\n")
    assert tail.splitlines() == [f"      {name:<27}   {text}" for name, text in help_rows()]
    for setting in SETTINGS:
        assert (f"{setting.flag} " in head) is not setting.hidden


def test_the_readme_holds_the_table() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    begin, end = "<!-- settings:begin -->\n", "<!-- settings:end -->"
    assert text.count(begin) == text.count(end) == 1
    assert text.partition(begin)[2].partition(end)[0].strip() == markdown_table().strip(), (
        "The README's table of settings is not that of server/settings/table.py: replace what is between the two "
        "settings marks with the output of server.settings.markdown_table()."
    )


def test_importing_settings_is_light() -> None:
    heavy = "tomlkit", "platformdirs", "httpx2", "click", "rich", "starlette", "numpy", "difflib"
    code = f"import sys, server.settings; print([name for name in {heavy!r} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert result.stdout.strip() == "[]"


def test_runners_get_the_drivers_variables() -> None:
    assert "PATH" in runner_environ()
