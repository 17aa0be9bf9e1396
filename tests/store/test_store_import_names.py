"""Where other programs keep their files, and the names that come of it."""

from __future__ import annotations

import json
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.messages.names import ModelName
from server.store.importing.names import Origin, base_of, origin_of, quantization_of, suggested_name
from server.store.importing.places import Source, candidates, folders

HOME, WINDOWS_HOME = PurePosixPath("/home/ada"), PureWindowsPath("C:/Users/ada")

PLACES: list[tuple[Source, str, dict[str, str], PurePath, list[str]]] = [
    ("lmstudio", "linux", {}, HOME, ["/home/ada/.lmstudio/models", "/home/ada/.cache/lm-studio/models"]),
    (
        "lmstudio",
        "win32",
        {},
        WINDOWS_HOME,
        [r"C:\Users\ada\.lmstudio\models", r"C:\Users\ada\.cache\lm-studio\models"],
    ),
    ("huggingface", "linux", {}, HOME, ["/home/ada/.cache/huggingface/hub"]),
    ("huggingface", "darwin", {}, HOME, ["/home/ada/.cache/huggingface/hub"]),
    ("huggingface", "win32", {}, WINDOWS_HOME, [r"C:\Users\ada\.cache\huggingface\hub"]),
    ("huggingface", "linux", {"XDG_CACHE_HOME": "/c"}, HOME, ["/c/huggingface/hub"]),
    ("huggingface", "linux", {"HF_HOME": "/hf", "XDG_CACHE_HOME": "/c"}, HOME, ["/hf/hub"]),
    ("huggingface", "linux", {"HF_HOME": "~/hf"}, HOME, ["/home/ada/hf/hub"]),
    ("huggingface", "linux", {"HF_HUB_CACHE": "/hub", "HF_HOME": "/hf"}, HOME, ["/hub"]),
    ("huggingface", "linux", {"HUGGINGFACE_HUB_CACHE": "/old"}, HOME, ["/old"]),
    ("llama.cpp", "linux", {}, HOME, ["/home/ada/.cache/llama.cpp"]),
    ("llama.cpp", "linux", {"XDG_CACHE_HOME": "/c"}, HOME, ["/c/llama.cpp"]),
    ("llama.cpp", "darwin", {"XDG_CACHE_HOME": "/c"}, HOME, ["/home/ada/Library/Caches/llama.cpp"]),
    ("llama.cpp", "win32", {"LOCALAPPDATA": "D:/L"}, WINDOWS_HOME, [r"D:\L\llama.cpp"]),
    ("llama.cpp", "win32", {}, WINDOWS_HOME, [r"C:\Users\ada\AppData\Local\llama.cpp"]),
    ("llama.cpp", "linux", {"LLAMA_CACHE": "/l"}, HOME, ["/l"]),
]


@pytest.mark.parametrize(("source", "platform", "environ", "home", "expected"), PLACES)
def test_places(source: Source, platform: str, environ: dict[str, str], home: PurePath, expected: list[str]) -> None:
    assert list(map(str, candidates(source, platform, environ, home))) == expected


def test_the_folder_that_lm_studio_was_told(tmp_path: Path) -> None:
    home, data, chosen = tmp_path / "home", tmp_path / "lms", tmp_path / "big"
    for folder in (home, data, chosen):
        folder.mkdir()
    (home / ".lmstudio-home-pointer").write_text(f"{data}\n", "utf-8")
    (data / "settings.json").write_text(json.dumps({"downloadsFolder": str(chosen)}), "utf-8")
    assert folders("lmstudio", "linux", {}, home) == [chosen]
    (data / "models").mkdir()
    assert folders("lmstudio", "linux", {}, home) == [chosen, data / "models"]
    assert folders("llama.cpp", "linux", {}, home) == []
    (data / "settings.json").write_text("[broken", "utf-8")
    assert folders("lmstudio", "linux", {}, home) == [data / "models"]


@pytest.mark.parametrize(
    ("path", "root", "name"),
    [
        (
            "/h/.lmstudio/models/bartowski/Llama-3.2-1B-Instruct-GGUF/Llama-3.2-1B-Instruct-Q4_K_M.gguf",
            "/h/.lmstudio/models",
            "bartowski/Llama-3.2-1B-Instruct:Q4_K_M",
        ),
        (
            "/h/hub/models--unsloth--Qwen3-8B-GGUF/snapshots/abc/Qwen3-8B-UD-Q4_K_XL.gguf",
            "/h/hub",
            "unsloth/Qwen3-8B:UD-Q4_K_XL",
        ),
        ("/h/hub/models--gpt2/snapshots/abc/sub/gpt2.gguf", "/h/hub", "gpt2:F16"),
        ("/m/mistral-7b-v0.1.Q5_K_S.gguf", "/m", "mistral-7b-v0.1:Q5_K_S"),
        ("/m/a/b/c/my model (new).gguf", "/m", "my-model-new:F16"),
        ("/m/…/日本語.gguf", "/m", "model:F16"),
        ("/m/Q4_0.gguf", "/m", "Q4_0:Q4_0"),
        ("/m/big-IQ2_XXS-00001-of-00003.gguf", "/m", "big:IQ2_XXS"),
        ("/m/.hidden-Q8_0.GGUF", "/m", "hidden:Q8_0"),
        ("/x.y/.lmstudio/models/a.b/c/d.gguf", "/x.y/.lmstudio/models", "a-b/c:F16"),
        ("/m/" + "x" * 300 + ".gguf", "/m", "x" * 80 + ":F16"),
    ],
)
def test_names(path: str, root: str, name: str) -> None:
    origin = origin_of(PurePosixPath(path), PurePosixPath(root))
    assert suggested_name(origin, "F16", lambda _: False).short == name


def test_names_of_llama_cpp(tmp_path: Path) -> None:
    """The lists beside the files tell where the publisher ends; the longest repository counts."""
    repositories = [("ggml-org", "gemma-3_it-GGUF"), ("ggml-org", "gemma-3")]
    origin = origin_of(tmp_path / "ggml-org_gemma-3_it-GGUF_gemma-3-it-Q4_K_M.gguf", tmp_path, repositories)
    assert (origin.publisher, origin.repository, origin.stem) == ("ggml-org", "gemma-3_it-GGUF", "gemma-3-it-Q4_K_M")
    assert origin_of(tmp_path / "own_file.gguf", tmp_path, repositories) == Origin(stem="own_file")


def test_quantizations() -> None:
    assert quantization_of("Llama-3.2-1B-Instruct-Q4_K_M") == "Q4_K_M"
    assert quantization_of("x.i1-IQ3_XS") == "IQ3_XS"
    assert quantization_of("phi-Q4_0_4_4") == "Q4_0_4_4"
    assert quantization_of("gpt-oss-20b-mxfp4") == "mxfp4"
    assert quantization_of("Q8tron-7B") == ""
    assert base_of("Llama-3.2-1B-Q4_K_M-imat") == "Llama-3.2-1B"


NAMES = st.text(min_size=0, max_size=120)


@given(st.lists(st.tuples(NAMES, NAMES, NAMES), min_size=1, max_size=12))
def test_any_names_are_valid_and_differ(parts: list[tuple[str, str, str]]) -> None:
    """In any case of letters: some file systems know no other."""
    given_names: set[str] = set()
    for publisher, repository, stem in parts:
        origin = Origin(stem=stem or "x", publisher=publisher, repository=repository)
        name = suggested_name(origin, "", lambda each: each.full.lower() in given_names)
        assert ModelName.parse(name.full).is_valid
        assert name.full.lower() not in given_names
        given_names.add(name.full.lower())
