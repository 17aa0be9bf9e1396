"""A model folder that is missing is told, and never made anew."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from server.errors import FolderMissing
from server.messages.names import ModelName
from server.store import CreateRequest, Store
from server.store.presence import Presence
from tests.store.gguf_builder import small_model


def opened(root: Path, state: Path, **more: object) -> Store:
    return Store(root, presence=Presence(state / "folders.json", **more))  # type: ignore[arg-type]


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    """A drive with a model folder that has been used; `tmp_path/state` remembers it."""
    root = tmp_path / "drive" / "models"
    store = opened(root, tmp_path)
    store.prepare()
    digest, _ = store.blobs.write(small_model().encoded())
    store.create(CreateRequest(model="m", files={"m.gguf": digest}), lambda _: None)
    return root


def test_a_new_folder_is_made(tmp_path: Path) -> None:
    store = opened(tmp_path / "new" / "models", tmp_path)
    store.prepare()
    assert store.list() == []
    assert store.manifests.folder.is_dir()


def test_a_drive_that_left_is_told_and_nothing_is_made(drive: Path, tmp_path: Path) -> None:
    drive.parent.rename(tmp_path / "unplugged")
    store = opened(drive, tmp_path)
    for action in (store.prepare, store.list, lambda: store.resolve("m"), lambda: store.blobs.write(b"x")):
        with pytest.raises(FolderMissing, match=f"The model folder {drive} is not there any more") as caught:
            action()
        assert "Attach the drive" in str(caught.value)
        assert caught.value.status == 503
    with pytest.raises(FolderMissing):
        store.delete(ModelName.parse("m"))
    assert not drive.parent.exists()


def test_it_goes_on_when_the_drive_is_back(drive: Path, tmp_path: Path) -> None:
    store = opened(drive, tmp_path)
    store.prepare()
    drive.parent.rename(tmp_path / "unplugged")
    with pytest.raises(FolderMissing):
        store.list()
    (tmp_path / "unplugged").rename(drive.parent)
    assert [model.name.short for model in store.list()] == ["m:latest"]


def test_an_empty_mount_point_is_a_missing_drive(tmp_path: Path) -> None:
    mounts = {str(tmp_path / "drive")}
    root = tmp_path / "drive" / "models"
    opened(root, tmp_path, is_mount=lambda path: path in mounts).prepare()
    shutil.rmtree(root)
    mounts.clear()
    root.mkdir()  # what shows under a mount point when nothing is mounted
    store = opened(root, tmp_path, is_mount=lambda path: path in mounts)
    with pytest.raises(FolderMissing, match=f"on a drive at {tmp_path / 'drive'}, which is not attached"):
        store.prepare()
    assert list(root.iterdir()) == []


def test_models_that_came_to_the_disk_underneath_are_there(drive: Path, tmp_path: Path) -> None:
    mounts = {str(drive.parent)}
    opened(drive, tmp_path, is_mount=lambda path: path in mounts).prepare()
    mounts.clear()
    store = opened(drive, tmp_path, is_mount=lambda path: path in mounts)
    store.prepare()
    assert [model.name.short for model in store.list()] == ["m:latest"]


def test_a_link_that_leads_nowhere_is_a_missing_drive(tmp_path: Path) -> None:
    root = tmp_path / "models"
    root.symlink_to(tmp_path / "drive" / "models")
    store = opened(root, tmp_path, default=root)
    with pytest.raises(FolderMissing, match="is a link to"):
        store.prepare()
    assert not (tmp_path / "drive").exists()


def test_one_may_begin_anew(drive: Path, tmp_path: Path) -> None:
    """By making the folder, as the sentence says."""
    shutil.rmtree(drive)
    store = opened(drive, tmp_path)
    with pytest.raises(FolderMissing, match=f"mkdir {drive}"):
        store.prepare()
    drive.mkdir()
    store.prepare()
    assert store.list() == []


def test_the_default_folder_may_be_made_again(drive: Path, tmp_path: Path) -> None:
    shutil.rmtree(drive)
    store = opened(drive, tmp_path, default=drive)
    store.prepare()
    assert store.list() == []
