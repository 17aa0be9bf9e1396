"""What the status window shows in its middle: a card per running model, or why there is none."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QCheckBox, QHBoxLayout, QLabel, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from app.desk import Desk
from app.i18n import text
from app.parts import Card, Meter, QuietLabel, enlarged
from app.rows import ModelRow


class ModelCard(Card):
    """One running model: what it costs, what it does, and how to end it."""

    def __init__(self, name: str, desk: Desk, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAccessibleName(name)
        self._name = QLabel(name)
        self._name.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        enlarged(self._name, 1.08, bold=True)
        self._detail = QuietLabel()
        self._detail.setWordWrap(True)
        self._meter = Meter()
        self._unload = QPushButton(text("action.unload"))
        self._unload.setAccessibleName(f"{text('action.unload')}: {name}")
        self._unload.clicked.connect(lambda: desk.unload(name))
        self._keep = QCheckBox(text("action.keep"))
        self._keep.setAccessibleName(f"{text('action.keep')}: {name}")
        self._keep.clicked.connect(lambda is_kept: desk.keep(name, is_kept))
        self._arrange()

    def refresh(self, row: ModelRow) -> None:
        self._detail.setText(row.detail)
        self._meter.show_fraction(row.fraction)
        self._meter.setToolTip(row.meter)
        self._meter.setAccessibleName(row.meter)
        self._unload.setEnabled(row.can_unload)
        self._keep.setEnabled(row.can_unload)
        self._keep.setChecked(row.is_kept)

    def _arrange(self) -> None:
        words = QVBoxLayout()
        words.setSpacing(2)
        words.addWidget(self._name)
        words.addWidget(self._detail)
        top = QHBoxLayout()
        top.setSpacing(12)
        top.addLayout(words, 1)
        top.addWidget(self._keep)
        top.addWidget(self._unload)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(14, 12, 12, 12)
        whole.setSpacing(10)
        whole.addLayout(top)
        whole.addWidget(self._meter)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)


class EmptyCard(Card):
    """Says why there is nothing to see."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._title = QLabel()
        self._hint = QuietLabel()
        self._hint.setWordWrap(True)
        for label in (self._title, self._hint):
            label.setAlignment(Qt.AlignmentFlag.AlignCenter)
        enlarged(self._title, 1.08, bold=True)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(24, 26, 24, 26)
        whole.setSpacing(6)
        whole.addWidget(self._title)
        whole.addWidget(self._hint)

    def refresh(self, *, is_up: bool) -> None:
        self._title.setText(text("window.empty" if is_up else "window.stopped"))
        self._hint.setText(text("window.empty_hint" if is_up else "window.stopped_hint"))


class ModelCards(QWidget):
    """The cards, each kept as long as its model runs."""

    def __init__(self, desk: Desk, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._desk = desk
        self._cards: dict[str, ModelCard] = {}
        self._empty = EmptyCard()
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(8)
        self._column.addWidget(self._empty)
        self._column.addStretch(1)

    def refresh(self, rows: tuple[ModelRow, ...], *, is_up: bool) -> None:
        names = {row.name for row in rows}
        for name in [name for name in self._cards if name not in names]:
            card = self._cards.pop(name)
            self._column.removeWidget(card)
            card.hide()
            card.deleteLater()
        for row in rows:
            if row.name not in self._cards:
                self._cards[row.name] = ModelCard(row.name, self._desk)
                self._column.insertWidget(self._column.count() - 1, self._cards[row.name])
            self._cards[row.name].refresh(row)
        self._empty.refresh(is_up=is_up)
        self._empty.setVisible(not rows)
