; Inno Setup 6.4 or newer: ISCC /DVersion=0.1.0 installers\windows\puna.iss, with dist\puna made by build.spec.
; build.ps1 does both, and signs. For the user alone, without administrator rights.

#ifndef Version
  #error Give the version: ISCC /DVersion=...
#endif
#ifndef Architecture
  #define Architecture "x64compatible"
#endif

[Setup]
AppId={{6C0C5D0B-0E0D-4C1B-9B53-3C1F4A7C2B8E}
AppName=Puna
AppVersion={#Version}
AppVerName=Puna {#Version}
AppPublisher=Puna
VersionInfoVersion={#Version}
DefaultDirName={localappdata}\Programs\Puna
PrivilegesRequired=lowest
ArchitecturesAllowed={#Architecture}
ArchitecturesInstallIn64BitMode={#Architecture}
MinVersion=10.0.17763
DisableProgramGroupPage=yes
DisableReadyPage=yes
DisableWelcomePage=yes
DefaultGroupName=Puna
OutputDir=..\..\dist
OutputBaseFilename=PunaSetup-{#Version}
SetupIconFile=..\..\build\puna.ico
UninstallDisplayIcon={app}\puna-desktop.exe
UninstallDisplayName=Puna
Compression=lzma2/ultra64
SolidCompression=yes
WizardStyle=modern
ChangesEnvironment=yes
; Two installers at once would write into each other's files.
SetupMutex=PunaSetup
; Windows' own way to end programs that hold our files: it asks them first, and starts the tray again.
CloseApplications=yes
RestartApplications=yes
SetupLogging=yes
UninstallLogging=yes
#ifdef Signed
SignTool=puna
SignedUninstaller=yes
#endif

[Files]
Source: "..\..\dist\puna\*"; DestDir: "{app}"; Flags: ignoreversion recursesubdirs createallsubdirs

[InstallDelete]
; What an older version had and this one lacks would be found by imports.
Type: filesandordirs; Name: "{app}\_internal"

[Icons]
Name: "{userprograms}\Puna"; Filename: "{app}\puna-desktop.exe"; WorkingDir: "{%USERPROFILE}"; AppUserModelID: "app.puna.Puna"

[Run]
Filename: "{app}\puna-desktop.exe"; Description: "Start Puna"; WorkingDir: "{%USERPROFILE}"; Flags: nowait postinstall skipifsilent

[UninstallDelete]
Type: filesandordirs; Name: "{app}\_internal"
Type: dirifempty; Name: "{app}"

[Code]
const
  EnvironmentKey = 'Environment';
  PoliteSeconds = 15;

{ ---- Path: one entry, added once, removed wholly ---- }

function SameFolder(A, B: string): Boolean;
begin
  Result := CompareText(RemoveBackslashUnlessRoot(Trim(A)), RemoveBackslashUnlessRoot(Trim(B))) = 0;
end;

function PathWithout(Value, Folder: string): string;
var
  At: Integer;
  Part: string;
begin
  Result := '';
  while Value <> '' do begin
    At := Pos(';', Value);
    if At = 0 then At := Length(Value) + 1;
    Part := Copy(Value, 1, At - 1);
    Delete(Value, 1, At);
    if (Part <> '') and not SameFolder(Part, Folder) then begin
      if Result <> '' then Result := Result + ';';
      Result := Result + Part;
    end;
  end;
end;

procedure SetPath(IsWanted: Boolean);
var
  Before, After, Folder: string;
begin
  Folder := ExpandConstant('{app}');
  if not RegQueryStringValue(HKEY_CURRENT_USER, EnvironmentKey, 'Path', Before) then Before := '';
  After := PathWithout(Before, Folder);
  if IsWanted then begin
    if After <> '' then After := After + ';';
    After := After + Folder;
  end;
  if After <> Before then RegWriteExpandStringValue(HKEY_CURRENT_USER, EnvironmentKey, 'Path', After);
end;

{ ---- Ending what runs: asked first, so that answers and downloads come to a good end; then ended ---- }

procedure Ask(Arguments: string);
var
  Status: Integer;
begin
  Exec(ExpandConstant('{sys}\taskkill.exe'), Arguments, '', SW_HIDE, ewWaitUntilTerminated, Status);
end;

function IsRunning(Name: string): Boolean;
var
  Status: Integer;
begin
  { find gives 0 where a line has the name }
  Exec(ExpandConstant('{cmd}'), '/C tasklist /FI "IMAGENAME eq ' + Name + '" /NH | find /I "' + Name + '"', '', SW_HIDE,
       ewWaitUntilTerminated, Status);
  Result := Status = 0;
end;

procedure EndPrograms;
var
  Left: Integer;
begin
  if not IsRunning('puna.exe') and not IsRunning('puna-desktop.exe') then Exit;
  { without /F a window is asked to close; a console program has to hear Ctrl+Break, which taskkill cannot send }
  Ask('/IM puna-desktop.exe');
  Left := PoliteSeconds * 2;
  while (Left > 0) and IsRunning('puna-desktop.exe') do begin
    Sleep(500);
    Left := Left - 1;
  end;
  { with their children: no runner may hold a file that is to be replaced }
  Ask('/F /T /IM puna-desktop.exe');
  Ask('/F /T /IM puna.exe');
end;

function PrepareToInstall(var NeedsRestart: Boolean): string;
begin
  EndPrograms;
  Result := '';
end;

procedure CurStepChanged(Step: TSetupStep);
begin
  if Step = ssPostInstall then SetPath(True);
end;

{ ---- Removal: models stay, unless the box, which is unchecked, says otherwise ---- }

var
  RemoveModels: Boolean;

function ModelFolder: string;
begin
  Result := ExpandConstant('{%USERPROFILE}\.ollama\models');
end;

procedure AskForModels;
var
  Form: TSetupForm;
  Box: TNewCheckBox;
  Go, Stay: TNewButton;
begin
  Form := CreateCustomForm(ScaleX(440), ScaleY(110), False, True);
  try
    Form.Caption := 'Remove Puna';
    Box := TNewCheckBox.Create(Form);
    Box.Parent := Form;
    Box.SetBounds(ScaleX(16), ScaleY(16), ScaleX(408), ScaleY(36));
    Box.Caption := 'Remove the models in ' + ModelFolder + ' too. Ollama uses the same folder.';
    Box.Checked := False;
    Go := TNewButton.Create(Form);
    Go.Parent := Form;
    Go.SetBounds(ScaleX(232), ScaleY(72), ScaleX(92), ScaleY(24));
    Go.Caption := 'Remove';
    Go.ModalResult := mrOk;
    Stay := TNewButton.Create(Form);
    Stay.Parent := Form;
    Stay.SetBounds(ScaleX(332), ScaleY(72), ScaleX(92), ScaleY(24));
    Stay.Caption := 'Cancel';
    Stay.ModalResult := mrCancel;
    Stay.Cancel := True;
    if Form.ShowModal <> mrOk then Abort;
    RemoveModels := Box.Checked;
  finally
    Form.Free;
  end;
end;

function InitializeUninstall: Boolean;
begin
  RemoveModels := False;
  { a silent removal asks nothing and keeps the models }
  if not UninstallSilent and DirExists(ModelFolder) then AskForModels;
  Result := True;
end;

procedure CurUninstallStepChanged(Step: TUninstallStep);
begin
  if Step = usUninstall then begin
    EndPrograms;
    SetPath(False);
  end;
  { only what a model folder consists of, and only in the usual place }
  if (Step = usPostUninstall) and RemoveModels then begin
    DelTree(ModelFolder + '\blobs', True, True, True);
    DelTree(ModelFolder + '\manifests', True, True, True);
    RemoveDir(ModelFolder);
  end;
end;
