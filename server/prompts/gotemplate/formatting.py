"""`printf`: Go's verbs, flags, widths and argument positions. Misuse prints, it does not fail."""

from __future__ import annotations

from typing import Any

from server.prompts.gotemplate import printing
from server.prompts.gotemplate.literals import to_bytes, to_text
from server.prompts.gotemplate.quoting import quoted, quoted_character
from server.prompts.gotemplate.values import Mapping, Record, Tools, WholeNumber, type_name

MAX_WIDTH = 1_000_000


def printf(format_text: str, arguments: list[Any]) -> str:
    return _Format(format_text, arguments).run()


class _Format:
    def __init__(self, text: str, arguments: list[Any]) -> None:
        self._text = text
        self._arguments = arguments
        self._at = 0
        self._number = 0  # of the next argument
        self._is_reordered = False
        self._good_number = True
        self._pieces: list[str] = []

    def run(self) -> str:
        while (percent := self._text.find("%", self._at)) >= 0:
            self._pieces.append(self._text[self._at : percent])
            self._at = percent + 1
            self._directive()
        self._pieces.append(self._text[self._at :])
        if not self._is_reordered and self._number < len(self._arguments):
            extra = ", ".join(_typed(value) for value in self._arguments[self._number :])
            self._pieces.append(f"%!(EXTRA {extra})")
        return "".join(self._pieces)

    def _directive(self) -> None:
        flags = self._flags()
        self._good_number = True
        after_index = self._position()
        if self._take("*"):
            flags.width = self._star("WIDTH")
            if flags.width is not None and flags.width < 0:
                flags.width, flags.minus, flags.zero = -flags.width, True, False
            after_index = False
        else:
            flags.width = self._digits()
            self._good_number = self._good_number and not (after_index and flags.width is not None)
        if self._take("."):
            self._good_number = self._good_number and not after_index
            after_index = self._position()
            if self._take("*"):
                flags.precision = self._star("PREC")
                if flags.precision is not None and flags.precision < 0:
                    flags.precision = None
                    self._pieces.append("%!(BADPREC)")
                after_index = False
            else:
                flags.precision = self._digits() or 0
        if not after_index:
            self._position()
        self._verb(flags)

    def _verb(self, flags: _Flags) -> None:
        if self._at >= len(self._text):
            self._pieces.append("%!(NOVERB)")
            return
        verb = self._text[self._at]
        self._at += 1
        if verb == "%":
            self._pieces.append("%")
        elif not self._good_number:
            self._pieces.append(f"%!{verb}(BADINDEX)")
        elif self._number >= len(self._arguments):
            self._pieces.append(f"%!{verb}(MISSING)")
        else:
            self._pieces.append(formatted(self._arguments[self._number], verb, flags))
            self._number += 1

    def _flags(self) -> _Flags:
        flags = _Flags()
        while self._at < len(self._text):
            match self._text[self._at]:
                case "#":
                    flags.sharp = True
                case "0":
                    flags.zero = not flags.minus
                case "+":
                    flags.plus = True
                case "-":
                    flags.minus, flags.zero = True, False
                case " ":
                    flags.space = True
                case _:
                    break
            self._at += 1
        return flags

    def _take(self, sign: str) -> bool:
        if self._text.startswith(sign, self._at):
            self._at += 1
            return True
        return False

    def _digits(self) -> int | None:
        start = self._at
        while self._text[self._at : self._at + 1] in tuple("0123456789"):
            self._at += 1
        if start == self._at:
            return None
        value = int(self._text[start : self._at])
        return value if value <= MAX_WIDTH else None

    def _position(self) -> bool:
        """Read `[n]`, which makes the nth argument the next; True where one stood."""
        if not self._text.startswith("[", self._at):
            return False
        self._is_reordered = True
        end = self._text.find("]", self._at)
        if end < 0:
            self._at += 1
            self._good_number = False
            return False
        inside = self._text[self._at + 1 : end]
        self._at = end + 1
        is_number = inside.isascii() and inside.isdigit() and len(inside) < 8
        if is_number and 1 <= int(inside) <= len(self._arguments):
            self._number = int(inside) - 1
            return True
        self._good_number = False
        return is_number

    def _star(self, what: str) -> int | None:
        value = self._arguments[self._number] if self._number < len(self._arguments) else None
        self._number += self._number < len(self._arguments)
        if isinstance(value, int) and not isinstance(value, bool) and -MAX_WIDTH <= value <= MAX_WIDTH:
            return value
        self._pieces.append(f"%!(BAD{what})")
        return None


class _Flags:
    def __init__(self) -> None:
        self.sharp = self.zero = self.plus = self.minus = self.space = False
        self.width: int | None = None
        self.precision: int | None = None

    def pad(self, text: str, zero: bool | None = None) -> str:
        if self.width is None or len(text) >= self.width:
            return text
        if self.minus:
            return text.ljust(self.width)
        return text.rjust(self.width, "0" if (self.zero if zero is None else zero) else " ")


def _typed(value: Any) -> str:
    return "<nil>" if value is None else f"{type_name(value)}={printing.text(value)}"


def formatted(value: Any, verb: str, flags: _Flags, is_inner: bool = False) -> str:
    """One value by one verb."""
    if value is None:
        return flags.pad("<nil>", zero=False) if verb in "vT" or is_inner else f"%!{verb}(<nil>)"
    if verb == "T":
        return flags.pad(type_name(value))
    if verb == "v":
        flags.plus = False  # `%+v` asks for the names of fields, not for a sign
    if isinstance(value, WholeNumber) and verb in "eEfFgG":
        value = float(value)
    text: str | None
    if isinstance(value, bool):
        text = flags.pad("true" if value else "false") if verb in "vt" else None
    elif isinstance(value, int):
        text = _integer(int(value), verb, flags)
    elif isinstance(value, float):
        text = _float(value, verb, flags)
    elif isinstance(value, str):
        text = _string(value, verb, flags)
    elif isinstance(value, bytes):
        text = _string(to_text(value), verb, flags) if verb in "sqxX" else printing.text(value)
    elif isinstance(value, (Record, Tools, Mapping)):
        text = _string(printing.text(value), verb, flags)
    elif isinstance(value, (list, dict)):
        return _collection(value, verb, flags)
    else:
        text = flags.pad(printing.text(value)) if verb in "vgeEfFG" else None
    return f"%!{verb}({_typed(value)})" if text is None else text


def _collection(value: list[Any] | dict[str, Any], verb: str, flags: _Flags) -> str:
    is_go = verb == "v" and flags.sharp
    if isinstance(value, dict):
        pairs = [(key, value[key]) for key in printing.sorted_keys(value)]
        items = [f"{formatted(key, verb, flags, True)}:{_item(item, verb, flags)}" for key, item in pairs]
        return f"{type_name(value)}{{{', '.join(items)}}}" if is_go else f"map[{' '.join(items)}]"
    items = [_item(item, verb, flags) for item in value]
    return f"{type_name(value)}{{{', '.join(items)}}}" if is_go else f"[{' '.join(items)}]"


def _item(value: Any, verb: str, flags: _Flags) -> str:
    if value is None and verb == "v" and flags.sharp:
        return "interface {}(nil)"
    return formatted(value, verb, flags, True)


def _string(value: str, verb: str, flags: _Flags) -> str | None:
    if verb == "v" and flags.sharp:
        return flags.pad(quoted(value))
    if verb in ("v", "s"):
        return flags.pad(value if flags.precision is None else value[: flags.precision])
    if verb == "q":
        kept = value if flags.precision is None else value[: flags.precision]
        if flags.sharp and "`" not in kept and kept.isprintable():
            return flags.pad(f"`{kept}`")
        return flags.pad(quoted(kept, ascii_only=flags.plus))
    if verb in ("x", "X"):
        data = to_bytes(value)[: flags.precision]
        prefix = "0x" if flags.sharp else ""
        text = prefix + (f" {prefix}" if flags.space else "").join(f"{byte:02x}" for byte in data) if data else ""
        return flags.pad(text.upper() if verb == "X" else text)
    return None


def _integer(value: int, verb: str, flags: _Flags) -> str | None:
    if verb == "c":
        return flags.pad(_character(value))
    if verb == "q":
        return flags.pad(quoted_character(_character(value), ascii_only=flags.plus))
    if verb == "U":
        drawn = f" '{_character(value)}'" if flags.sharp and _character(value).isprintable() else ""
        return flags.pad(f"U+{value:04X}{drawn}", zero=False)
    bases = {"v": "d", "d": "d", "b": "b", "o": "o", "O": "o", "x": "x", "X": "X"}
    if verb not in bases:
        return None
    if flags.precision == 0 and value == 0:
        return flags.pad("", zero=False)
    sign = "-" if value < 0 else "+" if flags.plus else " " if flags.space else ""
    digits = format(abs(value), bases[verb])
    if flags.precision is not None:
        digits = digits.rjust(flags.precision, "0")
    elif flags.zero and flags.width is not None:
        digits = digits.rjust(flags.width - len(sign), "0")
    prefix = "0o" if verb == "O" else ""
    if flags.sharp:
        prefix = {"b": "0b", "o": "" if digits.startswith("0") else "0", "x": "0x", "X": "0X"}.get(verb, prefix)
    return flags.pad(sign + prefix + digits, zero=False)


def _character(point: int) -> str:
    return chr(point) if 0 <= point <= 0x10FFFF and not 0xD800 <= point < 0xE000 else "\ufffd"


def _float(value: float, verb: str, flags: _Flags) -> str | None:
    text = _float_digits(abs(value) if value == value else value, verb, flags.precision)
    if text is None:
        return None
    is_negative = value < 0 or (text != "NaN" and str(value).startswith("-"))
    text = text.removeprefix("+")
    sign = "-" if is_negative else "+" if flags.plus else " " if flags.space else ""
    if flags.zero and flags.width is not None and text not in ("Inf", "NaN"):
        return sign + text.rjust(flags.width - len(sign), "0")
    return flags.pad(sign + text, zero=False)


def _float_digits(value: float, verb: str, precision: int | None) -> str | None:
    if verb in ("v", "g", "G"):
        text = printing.float_text(value) if precision is None else f"{value:.{precision or 1}g}"
        return text.upper() if verb == "G" else text
    if verb in ("e", "E", "f", "F"):
        return f"{value:.{6 if precision is None else precision}{verb}}"
    if verb == "b":
        mantissa, exponent = value.hex().removeprefix("0x").split("p")
        whole, _, fraction = mantissa.partition(".")
        return f"{int(whole + fraction.ljust(13, '0'), 16)}p{int(exponent) - 52:+d}"
    if verb in ("x", "X"):
        mantissa, exponent = value.hex().split("p")
        text = f"{mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa}p{int(exponent):+03d}"
        return text.upper() if verb == "X" else text
    return None
