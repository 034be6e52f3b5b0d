"""How somebody likes to see the console, kept in a cookie: dark or light, pictures grey or blurred, keys or none."""

from dataclasses import dataclass
from typing import Self

THEMES = ("auto", "light", "dark")
PICTURES = ("plain", "grey", "blur", "grey-blur")
KEYS = ("on", "off")


@dataclass(frozen=True, slots=True)
class Look:
    """A theme, what is done to pictures until one looks closely, and whether single letters decide."""

    theme: str = "auto"
    pictures: str = "plain"
    keys: str = "on"

    @classmethod
    def parse(cls, text: str | None) -> Self:
        """From a cookie, or the default for whatever else it says."""
        parts = (text or "").split(".")
        known = (THEMES, PICTURES, KEYS)
        right = len(parts) == len(known) and all(part in words for part, words in zip(parts, known, strict=True))
        return cls(*parts) if right else cls()

    def __str__(self) -> str:
        return f"{self.theme}.{self.pictures}.{self.keys}"
