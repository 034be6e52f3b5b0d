"""The keys of each page: one list, which the page shows and the script follows."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Key:
    """A key and what it does."""

    key: str
    what: str


_SHOW = Key("V", "Show the pictures clearly, or as chosen under Display")
_PHOTO = (
    Key("+", "Zoom in"),
    Key("-", "Zoom out"),
    Key("0", "Whole photo"),
    Key("1", "One pixel of the photo to one of the screen"),
    Key("← ↑ → ↓", "Move the photo while it is larger than its frame"),
    Key(", .", "Darker, brighter"),
    Key("; :", "Less contrast, more contrast"),
    _SHOW,
)
_ALWAYS = (Key("?", "Show these keys"), Key("Esc", "Leave an input field, a comparison or this list"))

CASE = (
    Key("F", "AI-generated (fake), then the next case"),
    Key("R", "Real, then the next case"),
    Key("S", "Unsure: the case goes to another reviewer"),
    Key("N", "Skip: leave this case and open the next one"),
    Key("L", "Leave: return the cases that you hold, and go to the queue"),
    Key("U", "Undo your last decision"),
    Key("J", "Next photo"),
    Key("K", "Previous photo"),
    Key("H", "Show or hide the heatmap"),
    Key("C", "Compare with the next other photo"),
    *_PHOTO,
    Key("T", "Choose a template"),
    Key("M", "Write a comment"),
    *_ALWAYS,
)
SAMPLE = (
    Key("F", "AI-generated (fake), then the next photo"),
    Key("R", "Real, then the next photo"),
    Key("S", "Unsure: the photo goes to another reviewer"),
    Key("L", "Leave: return this photo to the others"),
    Key("U", "Undo your last verdict"),
    *_PHOTO,
    *_ALWAYS,
)
QUEUE = (Key("N", "Next case"), Key("U", "Undo your last decision"), _SHOW, *_ALWAYS)
SAMPLES = (Key("N", "Next photo"), Key("U", "Undo your last verdict"), *_ALWAYS)

#: The keys by page, as the help page lists them.
PAGES = {"Case": CASE, "Queue": QUEUE, "Sample": SAMPLE, "Samples": SAMPLES}
