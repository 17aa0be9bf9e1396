"""The per-platform corner: what each desktop does in its own way."""

from __future__ import annotations

import logging
import pathlib
import sys

from PySide6.QtCore import QSettings, Qt, QUrl
from PySide6.QtDBus import QDBusConnection, QDBusMessage
from PySide6.QtGui import QDesktopServices, QGuiApplication

log = logging.getLogger(__name__)

DBUS_MILLISECONDS = 300
_PORTAL = ("org.freedesktop.portal.Desktop", "/org/freedesktop/portal/desktop", "org.freedesktop.portal.Settings")


def open_folder(folder: pathlib.Path) -> bool:
    """Show a folder in the file manager, made first where it does not exist."""
    folder.mkdir(parents=True, exist_ok=True)
    return QDesktopServices.openUrl(QUrl.fromLocalFile(str(folder)))


def prefers_reduced_motion() -> bool:
    """Whether the user asked the system for less motion."""
    # Qt 6.12 knows; older versions are asked beside it.
    hints = QGuiApplication.styleHints().accessibility()
    preference = getattr(hints, "motionPreference", None)
    if preference is not None:
        return bool(preference() == Qt.MotionPreference.ReducedMotion)  # type: ignore[attr-defined,unused-ignore]
    if sys.platform == "win32":
        return _windows_stands_still()
    if sys.platform == "darwin":
        domain = QSettings("com.apple.universalaccess", "", None)
        return bool(domain.value("reduceMotion", False, type=bool))
    return _portal_value("org.gnome.desktop.interface", "enable-animations") is False


def is_dark() -> bool:
    """Whether the system asks for dark colours; where it says nothing, whether the palette has them."""
    scheme = QGuiApplication.styleHints().colorScheme()
    if scheme == Qt.ColorScheme.Unknown:
        return QGuiApplication.palette().window().color().lightness() < 128
    return scheme == Qt.ColorScheme.Dark


def wants_template_icon() -> bool:
    """macOS tints the icons of its menu bar itself."""
    return sys.platform == "darwin"


def _portal_value(namespace: str, key: str) -> object:
    """A setting of the desktop, None where nobody tells."""
    bus = QDBusConnection.sessionBus()
    interface = bus.interface() if bus.isConnected() else None
    if interface is None or not interface.isServiceRegistered(_PORTAL[0]).value():
        return None
    message = QDBusMessage.createMethodCall(*_PORTAL, "ReadOne")
    message.setArguments([namespace, key])
    reply = bus.call(message, timeout=DBUS_MILLISECONDS)
    arguments = reply.arguments()
    if reply.type() != QDBusMessage.MessageType.ReplyMessage or not arguments:
        return None
    value = arguments[0]
    return value.variant() if hasattr(value, "variant") else value


def _windows_stands_still() -> bool:
    if sys.platform == "win32":
        import ctypes

        get_client_area_animation = 0x1042
        animates = ctypes.c_int(1)
        ctypes.windll.user32.SystemParametersInfoW(get_client_area_animation, 0, ctypes.byref(animates), 0)
        return not animates.value
    return False
