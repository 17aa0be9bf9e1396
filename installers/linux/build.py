"""Packs the folder that PyInstaller made into dist/puna_VERSION_ARCH.deb and dist/puna-VERSION-linux-MACHINE.tar.zst.

Wanted beforehand: dist/puna (`make package` builds both), dpkg-deb, dpkg-shlibdeps (Debian's dpkg-dev) and zstd. The
package needs the C library of the machine that builds it, or a newer one: build on the oldest system that is to be
supported.
"""

from __future__ import annotations

import argparse
import gzip
import os
import pathlib
import platform
import runpy
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[1]
VERSION = runpy.run_path(str(ROOT / "server/version.py"))["VERSION"]
PROGRAMS = ("puna", "puna-desktop")
LIBRARY_HOME = "usr/lib/puna"
APP_ID = "app.puna.Puna"
ZSTD_LEVEL = 12
# Times in the archives, so that the same folder gives the same bytes.
EPOCH = os.environ.get("SOURCE_DATE_EPOCH", "1767225600")

CONTROL = """\
Package: puna
Version: {version}
Architecture: {architecture}
Maintainer: The Puna authors <puna@localhost>
Installed-Size: {size_kib}
Depends: {depends}
Recommends: {recommends}
Section: misc
Priority: optional
Description: large language models on your own computer
 A tray icon that shows what runs, a server that clients of Ollama, OpenAI and
 Anthropic know how to talk to, and a command line. Nothing leaves the machine
 but downloads that somebody asks for.
 .
 Nothing is started by the installation. The tray is puna-desktop; for a server
 that starts at login: systemctl --user enable --now puna
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=pathlib.Path, default=ROOT / "dist/puna", help="what PyInstaller made")
    parser.add_argument("--into", type=pathlib.Path, default=ROOT / "dist", help="where the packages go")
    parser.add_argument("--kind", choices=("deb", "tar"), action="append", help="only this one")
    arguments = parser.parse_args()
    if not (arguments.folder / "puna").is_file():
        sys.stderr.write(f"{arguments.folder} holds no puna; build it first: make package\n")
        return 1
    arguments.into.mkdir(parents=True, exist_ok=True)
    packers = {"deb": pack_deb, "tar": pack_tar}
    with tempfile.TemporaryDirectory(prefix="puna-package-") as work:
        for kind in arguments.kind or packers:
            target = packers[kind](arguments.folder, pathlib.Path(work) / kind, arguments.into)
            sys.stdout.write(f"{target} ({target.stat().st_size / 1e6:.0f} MB)\n")
    return 0


def pack_deb(folder: pathlib.Path, work: pathlib.Path, into: pathlib.Path) -> pathlib.Path:
    """The folder in /usr/lib, the programs in /usr/bin, and a user's service that waits to be asked."""
    shutil.copytree(folder, work / LIBRARY_HOME, symlinks=True)
    binaries = work / "usr/bin"
    binaries.mkdir(parents=True)
    for name in PROGRAMS:
        (binaries / name).symlink_to(f"../lib/puna/{name}")
    put_shared_files(work / "usr/share")
    put(HERE / "puna.service", work / "usr/lib/systemd/user/puna.service")
    documents = work / "usr/share/doc/puna"
    put(ROOT / "LICENSE", documents / "copyright")
    with gzip.GzipFile(documents / "changelog.gz", "wb", mtime=0) as packed:
        packed.write((ROOT / "CHANGELOG.md").read_bytes())
    even_modes(work)
    architecture = run("dpkg", "--print-architecture").strip()
    depends, recommends = needed_packages(work / LIBRARY_HOME, architecture)
    control = work / "DEBIAN/control"
    control.parent.mkdir()
    size_kib = sum(path.lstat().st_size for path in work.rglob("*") if path.is_file()) // 1024
    control.write_text(CONTROL.format(version=VERSION, architecture=architecture, size_kib=size_kib, depends=depends,
                                      recommends=recommends))  # fmt: skip
    target = into / f"puna_{VERSION}_{architecture}.deb"
    run("dpkg-deb", "--root-owner-group", "-Zzstd", f"-z{ZSTD_LEVEL}", "--build", str(work), str(target))
    return target


def pack_tar(folder: pathlib.Path, work: pathlib.Path, into: pathlib.Path) -> pathlib.Path:
    """One folder that runs wherever it is unpacked, with what a desktop wants beside it."""
    name = f"puna-{VERSION}-linux-{platform.machine()}"
    shutil.copytree(folder, work / name, symlinks=True)
    put_shared_files(work / name / "share")
    put(HERE / "puna.service", work / name / "share/systemd/puna.service")
    even_modes(work)
    target = into / f"{name}.tar.zst"
    run("tar", "--sort=name", f"--mtime=@{EPOCH}", "--owner=0", "--group=0", "--numeric-owner", "-C", str(work),
        "-I", f"zstd -{ZSTD_LEVEL} -T0 -q", "-cf", str(target), name)  # fmt: skip
    return target


def put_shared_files(share: pathlib.Path) -> None:
    put(HERE / "puna.desktop", share / "applications/puna.desktop")
    put(HERE / f"{APP_ID}.metainfo.xml", share / f"metainfo/{APP_ID}.metainfo.xml")
    icons = ROOT / "resources/icons"
    for path in icons.glob("puna-*.png"):
        size = path.stem.removeprefix("puna-")
        put(path, share / f"icons/hicolor/{size}x{size}/apps/puna.png")
    put(icons / "puna.svg", share / "icons/hicolor/scalable/apps/puna.svg")


def put(source: pathlib.Path, target: pathlib.Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def even_modes(work: pathlib.Path) -> None:
    """Readable by everybody, whatever the umask was; and of one time."""
    for path in [work, *work.rglob("*")]:
        if not path.is_symlink():
            is_program = path.is_dir() or path.name in PROGRAMS
            path.chmod(0o755 if is_program else 0o644)
        os.utime(path, (int(EPOCH), int(EPOCH)), follow_symlinks=False)


def needed_packages(home: pathlib.Path, architecture: str) -> tuple[str, str]:
    """Packages that hold the libraries that the folder lacks: those of everything, and those that only Qt asks for,
    which a server without a screen can do without."""
    libraries = [path for path in home.rglob("*") if is_elf(path)]
    of_qt = [path for path in libraries if is_of_qt(path.relative_to(home))]
    others = [path for path in libraries if path not in of_qt]
    folders = sorted({str(path.parent.resolve()) for path in libraries})
    with tempfile.TemporaryDirectory(prefix="puna-control-") as work:
        control = pathlib.Path(work) / "debian/control"
        control.parent.mkdir()
        control.write_text(f"Source: puna\n\nPackage: puna\nArchitecture: {architecture}\n")
        output = run("dpkg-shlibdeps", "-O", "--ignore-missing-info", "--warnings=0",
                     *(f"-l{each}" for each in folders),
                     "-dDepends", *(f"-e{path.resolve()}" for path in others),
                     "-dRecommends", *(f"-e{path.resolve()}" for path in of_qt), cwd=work)  # fmt: skip
    found = dict(line.removeprefix("shlibs:").split("=", 1) for line in output.splitlines() if "=" in line)
    # It names packages of libraries that the folder has too.
    lacking = packages_with(set().union(*map(asked_by, libraries)) - {path.name for path in home.rglob("*.so*")})
    names = [entry for entry in found.get("Depends", "").split(", ") if entry.split()[0] in lacking]
    wishes = [entry for entry in found.get("Recommends", "").split(", ") if entry.split()[0] in lacking]
    return ", ".join(names), ", ".join(wishes)


def asked_by(library: pathlib.Path) -> set[str]:
    words = (line.split() for line in run("objdump", "-p", str(library)).splitlines())
    return {line[1] for line in words if line[:1] == ["NEEDED"]}


def packages_with(libraries: set[str]) -> set[str]:
    """Names of the installed packages that hold them."""
    folder = run("dpkg-architecture", "-qDEB_HOST_MULTIARCH").strip()
    listed = run("dpkg", "-S", *(f"*/{folder}/{name}" for name in sorted(libraries)))
    return {line.split(":")[0] for line in listed.splitlines()}


def is_of_qt(place: pathlib.PurePath) -> bool:
    """The folder's own copies of X libraries are there for Qt too."""
    return "PySide6" in place.parts or "shiboken6" in place.parts or place.name.startswith(("libX", "libxcb", "libxkb"))


def is_elf(path: pathlib.Path) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def run(*command: str, cwd: str | None = None) -> str:
    environ = {**os.environ, "SOURCE_DATE_EPOCH": EPOCH, "LC_ALL": "C.UTF-8"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environ, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{command[0]} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
