#!/usr/bin/env bash
# Builds dist/Puna.app and dist/Puna-VERSION-MACHINE.dmg. Wanted beforehand: Xcode's command line tools, and Python with
# the `package` group and ".[desktop]" installed (`make package` does that).
#
# PUNA_SIGN_IDENTITY   "Developer ID Application: Name (TEAM)"; without it the app is signed for this machine alone
# PUNA_NOTARY_PROFILE  a profile of `xcrun notarytool store-credentials`; without it nothing is sent to Apple
set -euo pipefail
cd "$(dirname "$0")/../.."

python="${PYTHON:-.venv/bin/python}"
identity="${PUNA_SIGN_IDENTITY:--}"
profile="${PUNA_NOTARY_PROFILE:-}"
entitlements=installers/macos/entitlements.plist
app=dist/Puna.app

"$python" -m PyInstaller --noconfirm --distpath dist --workpath build/pyinstaller build.spec
version=$("$python" -c "from server.version import VERSION; print(VERSION)")

# The place for a link of the command line: /usr/local/bin/puna -> /Applications/Puna.app/Contents/Resources/puna.
# A script and no second copy: the program finds its files from where it lies.
cat >"$app/Contents/Resources/puna" <<'SCRIPT'
#!/bin/bash
self="$0"
while [ -L "$self" ]; do
    target="$(readlink "$self")"
    case "$target" in
        /*) self="$target" ;;
        *) self="$(dirname "$self")/$target" ;;
    esac
done
exec "$(cd "$(dirname "$self")/../MacOS" && pwd)/puna" "$@"
SCRIPT
chmod 755 "$app/Contents/Resources/puna"

# From the inside out, as codesign wants it: libraries, frameworks, programs, the bundle. A timestamp and the hardened
# runtime are what notarisation asks for; neither is possible without an identity.
options=(--force --sign "$identity")
if [ "$identity" != "-" ]; then
    options+=(--timestamp --options runtime)
fi
find "$app/Contents" -type f \( -name '*.dylib' -o -name '*.so' \) -print0 | xargs -0 codesign "${options[@]}"
find "$app/Contents" -type d -name '*.framework' -print0 | xargs -0 -r codesign "${options[@]}"
for program in puna puna-desktop; do
    codesign "${options[@]}" --entitlements "$entitlements" "$app/Contents/MacOS/$program"
done
codesign "${options[@]}" --entitlements "$entitlements" "$app"
codesign --verify --deep --strict "$app"

notarise() {
    xcrun notarytool submit "$1" --keychain-profile "$profile" --wait
}

# The ticket is stapled to the app too, so that it starts without a network wherever it is copied to.
if [ -n "$profile" ]; then
    ditto -c -k --keepParent "$app" build/Puna.zip
    notarise build/Puna.zip
    xcrun stapler staple "$app"
fi

image="dist/Puna-$version-$(uname -m).dmg"
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
ditto "$app" "$stage/Puna.app"
ln -s /Applications "$stage/Applications"
rm -f "$image"
hdiutil create -quiet -volname Puna -srcfolder "$stage" -format ULFO "$image"
if [ "$identity" != "-" ]; then
    codesign --force --sign "$identity" --timestamp "$image"
fi
if [ -n "$profile" ]; then
    notarise "$image"
    xcrun stapler staple "$image"
fi
echo "$image"
