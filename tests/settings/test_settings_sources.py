"""Every row of the table from every source, and the sentences of values that are not allowed."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from server.errors import InvalidSetting
from server.settings import SETTINGS, Settings, load, setting_named

GOOD: dict[str, tuple[str, Any]] = {
    "OLLAMA_DEBUG": ("1", logging.DEBUG),
    "OLLAMA_HOST": ("0.0.0.0:1234", None),
    "OLLAMA_CONTEXT_LENGTH": ("8192", 8192),
    "OLLAMA_KEEP_ALIVE": ("1h30m", 5400.0),
    "OLLAMA_MAX_LOADED_MODELS": ("2", 2),
    "OLLAMA_MAX_QUEUE": ("0", 0),
    "OLLAMA_MODELS": ("/data/models", Path("/data/models").absolute()),
    "OLLAMA_NUM_PARALLEL": ("4", 4),
    "OLLAMA_NO_CLOUD": ("yes", True),
    "OLLAMA_NOPRUNE": ("TRUE", True),
    "OLLAMA_ORIGINS": ("https://a.example, app://*", ("https://a.example", "app://*")),
    "OLLAMA_SCHED_SPREAD": ("on", True),
    "OLLAMA_FLASH_ATTENTION": ("off", False),
    "OLLAMA_KV_CACHE_TYPE": ("Q8_0", "q8_0"),
    "OLLAMA_GPU_OVERHEAD": ("1073741824", 1073741824),
    "OLLAMA_LOAD_TIMEOUT": ("0", 0.0),
    "PUNA_DOWNLOAD_PARTS": ("16", 16),
    "PUNA_DOWNLOAD_SPEED": ("5000000", 5_000_000),
    "PUNA_REGISTRIES": ("Models.lan:5000, 10.1.2.3/8", ("models.lan:5000", "10.0.0.0/8")),
    "OLLAMA_GO_TEMPLATE": ("f", False),
    "OLLAMA_DEBUG_LOG_REQUESTS": ("t", True),
    "PUNA_MODEL_ALIASES": ("claude-*=m, gpt=n/m:1", (("claude-*", "m"), ("gpt", "n/m:1"))),
    "PUNA_METRICS": ("1", True),
    "PUNA_REQUIRE_KEY": ("1", True),
    "PUNA_LONG_PROMPTS": ("Refuse", "refuse"),
    "PUNA_SEARCH_URL": ("https://[::1]:8080/searx", "https://[::1]:8080/searx"),
    "PUNA_REMOTE_IMAGES": ("Public, pictures.lan:80,10.1.2.3/8", ("public", "pictures.lan:80", "10.0.0.0/8")),
    "PUNA_REASONING_FIELD": ("reasoning", "reasoning"),
    "OLLAMA_NOHISTORY": ("1", True),
    "OLLAMA_EDITOR": ("nano -w", "nano -w"),
}
BAD: dict[str, tuple[str, str]] = {
    "OLLAMA_DEBUG": ("loud", "true, false, one of trace, debug, info, warn, error, or a whole number"),
    "OLLAMA_HOST": (":66000", "a port from 0 to 65535"),
    "OLLAMA_CONTEXT_LENGTH": ("4k", "a whole number from 0 to 2147483647"),
    "OLLAMA_KEEP_ALIVE": ("1d", "a duration such as 300ms, 10m or 1h30m, or a number of seconds"),
    "OLLAMA_MAX_LOADED_MODELS": ("-1", "a whole number"),
    "OLLAMA_MAX_QUEUE": ("1.5", "a whole number"),
    "OLLAMA_MODELS": ("\0", "the path of a folder"),
    "OLLAMA_NUM_PARALLEL": ("abc", "a whole number from 0 to 256"),
    "OLLAMA_NO_CLOUD": ("maybe", "true or false"),
    "OLLAMA_NOPRUNE": ("banana", "true or false"),
    "OLLAMA_ORIGINS": ("https://a.example/path", "origins such as https://example.com"),
    "OLLAMA_SCHED_SPREAD": ("2", "true or false"),
    "OLLAMA_FLASH_ATTENTION": ("auto-ish", "true, false or empty for automatic"),
    "OLLAMA_KV_CACHE_TYPE": ("q3_k", "one of f32, f16, bf16, q8_0, q4_0, q4_1, iq4_nl, q5_0, q5_1"),
    "OLLAMA_GPU_OVERHEAD": ("1GiB", "a whole number"),
    "OLLAMA_LOAD_TIMEOUT": ("soon", "a duration"),
    "PUNA_DOWNLOAD_PARTS": ("0", "a whole number from 1 to 64"),
    "PUNA_DOWNLOAD_SPEED": ("5MB", "a whole number"),
    "PUNA_REGISTRIES": ("https://models.lan", "hosts such as registry.example.com"),
    "OLLAMA_GO_TEMPLATE": ("-", "true, false or empty for automatic"),
    "OLLAMA_DEBUG_LOG_REQUESTS": ("j", "true or false"),
    "PUNA_MODEL_ALIASES": ("claude-*", "a comma-separated list of pattern=model"),
    "PUNA_METRICS": ("some", "true or false"),
    "PUNA_REQUIRE_KEY": ("some", "true or false"),
    "PUNA_LONG_PROMPTS": ("keep", "one of auto, drop, refuse"),
    "PUNA_SEARCH_URL": ("http://me:secret@searx.lan", "a web address such as http://localhost:8080, without a login"),
    "PUNA_REMOTE_IMAGES": ("https://pictures.lan", "true or false, or a comma-separated list of `public`, hosts"),
    "PUNA_REASONING_FIELD": ("thoughts", "one of both, reasoning, reasoning_content"),
    "OLLAMA_NOHISTORY": ("never", "true or false"),
}
ANY_TEXT = {"OLLAMA_EDITOR"}


def read(environ: dict[str, str], tmp_path: Path, **flags: Any) -> Settings:
    return load(environ, tmp_path / "settings.toml", flags, tmp_path / "server.json")


def test_every_row_has_a_case() -> None:
    names = {setting.env for setting in SETTINGS}
    assert set(GOOD) == names
    assert set(BAD) == names - ANY_TEXT


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.attribute)
def test_without_sources_the_table_and_the_structure_say_the_same(setting: Any, tmp_path: Path) -> None:
    value = read({}, tmp_path).value(setting.env)
    assert value.source == "default"
    assert value.text == setting.default
    if setting.default:
        assert value.value == setting.kind.read(setting.default) or setting.env == "OLLAMA_NUM_PARALLEL"


@pytest.mark.parametrize("name", GOOD)
def test_the_environment_sets_every_row(name: str, tmp_path: Path) -> None:
    text, expected = GOOD[name]
    value = read({name: text}, tmp_path).value(name)
    assert value.source == "environment"
    assert value.text == text
    assert expected is None or value.value == expected


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("source", ["environment", "flag", "file"])
def test_a_bad_value_stops_the_start(name: str, source: str, tmp_path: Path) -> None:
    """runtime 5, 9, 10, 12, improved: an error instead of another value than was asked for."""
    text, allowed = BAD[name]
    attribute = setting_named(name).attribute
    file = tmp_path / "settings.toml"
    if source == "file":
        file.write_text(f"{attribute} = {json.dumps(text)}\n", encoding="utf-8")
    environ = {name: text} if source == "environment" else {}
    flags = {attribute: text} if source == "flag" else {}
    with pytest.raises(InvalidSetting) as raised:
        read(environ, tmp_path, **flags)
    sentence = str(raised.value)
    where = {"environment": "in the environment", "flag": "given as --", "file": f"in {file} (key {attribute})"}
    for part in (name, f'"{text}"', where[source], allowed):
        assert part in sentence


@pytest.mark.parametrize(
    ("text", "value"),
    [(word, True) for word in ("1", "t", "T", "true", "True", "yes", "YES", "on")]
    + [(word, False) for word in ("0", "f", "F", "false", "No", "off")],
)
def test_booleans(text: str, value: bool, tmp_path: Path) -> None:
    assert read({"OLLAMA_NOPRUNE": text}, tmp_path).noprune is value


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("3600", 3600.0), ("-1", -1.0), ("0", 0.0), ("1.5", 1.5), ("300ms", 0.3), ("-1m", -60.0), ("24h", 86400.0)],
)
def test_keep_alive(text: str, seconds: float, tmp_path: Path) -> None:
    """runtime 13"""
    assert read({"OLLAMA_KEEP_ALIVE": text}, tmp_path).keep_alive_seconds == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("1", 10),
        ("true", 10),
        ("0", 20),
        ("2", 5),
        ("3", 5),
        ("-1", 30),
        ("-2", 40),
        ("-9", 40),
        ("Trace", 5),
        ("debug", 10),
        ("info", 20),
        ("WARN", 30),
        ("error", 40),
    ],
)
def test_log_level(text: str, level: int, tmp_path: Path) -> None:
    """runtime 96"""
    assert read({"OLLAMA_DEBUG": text}, tmp_path).log_level == level


def test_no_parallel_requests_means_one(tmp_path: Path) -> None:
    """runtime 11"""
    assert read({"OLLAMA_NUM_PARALLEL": "0"}, tmp_path).num_parallel == 1


def test_quotes_and_blanks_are_ignored(tmp_path: Path) -> None:
    """runtime 7"""
    settings = read({"OLLAMA_HOST": "  \"'1.2.3.4'\"  ", "OLLAMA_KV_CACHE_TYPE": '""'}, tmp_path)
    assert settings.host == "1.2.3.4"
    assert settings.value("OLLAMA_KV_CACHE_TYPE").source == "default"


def test_a_models_folder_is_absolute_and_knows_the_home_folder(tmp_path: Path) -> None:
    """runtime 15, model-store 11"""
    assert read({"OLLAMA_MODELS": '  "/data/models" '}, tmp_path).models_dir == Path("/data/models").absolute()
    assert read({"OLLAMA_MODELS": "~/m"}, tmp_path).models_dir == Path.home() / "m"
    assert read({"OLLAMA_MODELS": "here"}, tmp_path).models_dir == Path.cwd() / "here"


def test_file_then_environment_then_flag(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text(
        'max_queue = 1\nnum_parallel = 2\nkeep_alive_seconds = 7\norigins = ["app://a", "app://b"]\nnoprune = true\n'
        '[app]\nlanguage = "ja"\n',
        encoding="utf-8",
    )
    settings = read({"OLLAMA_NUM_PARALLEL": "3", "OLLAMA_MAX_QUEUE": "9"}, tmp_path, max_queue=5, noprune=None)
    assert (settings.max_queue, settings.num_parallel, settings.keep_alive_seconds) == (5, 3, 7.0)
    assert settings.origins == ("app://a", "app://b")
    assert settings.noprune is True
    assert settings.sources == {
        "max_queue": "flag",
        "num_parallel": "environment",
        "keep_alive_seconds": "file",
        "origins": "file",
        "noprune": "file",
    }


def test_an_unknown_key_of_the_file_is_named_with_the_nearest_known_one(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text("max_queues = 1\n", encoding="utf-8")
    with pytest.raises(InvalidSetting, match=r"max_queues, which is no setting of Puna\. Did you mean max_queue\?"):
        read({}, tmp_path)


def test_a_file_that_is_no_toml_is_named(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text("host = \n", encoding="utf-8")
    with pytest.raises(InvalidSetting, match=r"settings\.toml cannot be read: .*line 1"):
        read({}, tmp_path)


@pytest.mark.parametrize(
    ("environ", "content", "disabled", "by"),
    [
        ({}, None, False, "none"),
        ({"OLLAMA_NO_CLOUD": "1"}, None, True, "env"),
        ({}, {"disable_ollama_cloud": True}, True, "config"),
        ({"OLLAMA_NO_CLOUD": "1"}, {"disable_ollama_cloud": True}, True, "both"),
        ({"OLLAMA_NO_CLOUD": "0"}, {"disable_ollama_cloud": False}, False, "none"),
        ({}, {"disable_ollama_cloud": "yes"}, False, "none"),
        ({}, [1], False, "none"),
    ],
)
def test_the_cloud_has_two_switches(
    environ: dict[str, str], content: Any, disabled: bool, by: str, tmp_path: Path
) -> None:
    """runtime 17, 18, 19"""
    if content is not None:
        (tmp_path / "server.json").write_text(json.dumps(content), encoding="utf-8")
    settings = read(environ, tmp_path)
    assert (settings.no_cloud, settings.cloud_disabled_by) == (disabled, by)


def test_a_broken_cloud_file_does_not_stop_the_server(tmp_path: Path) -> None:
    """runtime 20"""
    (tmp_path / "server.json").write_text("{", encoding="utf-8")
    assert read({}, tmp_path).no_cloud is False


def test_origins(tmp_path: Path) -> None:
    """runtime 24, 25, 27"""
    good = (
        "*, http://192.168.1.0/24, http://192.168.1.0/24:3000, http://10.0.0.1:*, chrome-extension://*, https://x/, "
        "10.0.0.0/8, http://[fd00::]/8:*"
    )
    assert read({"OLLAMA_ORIGINS": good}, tmp_path).origins == (
        "*", "http://192.168.1.0/24", "http://192.168.1.0/24:3000", "http://10.0.0.1:*", "chrome-extension://*",
        "https://x", "10.0.0.0/8", "http://[fd00::]/8:*",
    )  # fmt: skip
    for bad in (
        "example.com",
        "http://*.a.*",
        "http://192.168.1.0/33",
        "http://a b",
        "http://name/24",
        "http://",
        "http://1.2.3.4/33:*",
        "1.2.3/8",
    ):
        with pytest.raises(InvalidSetting):
            read({"OLLAMA_ORIGINS": f"app://*,{bad}"}, tmp_path)
