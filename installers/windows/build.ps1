# Builds dist\PunaSetup-VERSION.exe. Wanted beforehand: Python with the `package` group and ".[desktop]" installed
# (`uv pip install -e ".[desktop]" --group package`) and Inno Setup 6.4 or newer.
# To sign, set PUNA_SIGN to the whole command with $f for the file, as Inno Setup's sign tools are written:
#   $env:PUNA_SIGN = 'signtool.exe sign /fd sha256 /tr http://timestamp.digicert.com /td sha256 /n "Name" $f'
$ErrorActionPreference = "Stop"
Set-Location (Join-Path $PSScriptRoot "..\..")

function Invoke-Checked([string] $What, [scriptblock] $Command) {
    & $Command
    if ($LASTEXITCODE -ne 0) { throw "$What failed with status $LASTEXITCODE" }
}

$version = & python -c "from server.version import VERSION; print(VERSION)"
New-Item -ItemType Directory -Force build | Out-Null
Invoke-Checked "the icon" { python -c "from PIL import Image; Image.open('resources/icons/puna-256.png').save('build/puna.ico')" }
Invoke-Checked "PyInstaller" { python -m PyInstaller --noconfirm --distpath dist --workpath build/pyinstaller build.spec }

$compiler = Join-Path ${env:ProgramFiles(x86)} "Inno Setup 6\ISCC.exe"
$options = @("/DVersion=$version")
if ($env:PROCESSOR_ARCHITECTURE -eq "ARM64") { $options += "/DArchitecture=arm64" }
if ($env:PUNA_SIGN) {
    # Our programs before they are packed; the installer and the uninstaller are signed by Inno Setup.
    foreach ($name in "puna.exe", "puna-desktop.exe") {
        $command = $env:PUNA_SIGN.Replace('$f', "`"dist\puna\$name`"")
        Invoke-Checked "signing $name" { cmd /c $command }
    }
    $options += "/DSigned", "/Spuna=$($env:PUNA_SIGN.Replace('"', '$q'))"
}
Invoke-Checked "Inno Setup" { & $compiler @options installers\windows\puna.iss }
