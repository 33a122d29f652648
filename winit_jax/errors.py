"""Errors in one line, also those of code that is not ours."""

MAX_CHARACTERS = 300
_TRACEBACK = "Traceback (most recent call last):"


def described(error: BaseException) -> str:
    """The kind of an error and the first line of what it says, as far as it says anything."""
    said = says(error)
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def says(error: BaseException) -> str:
    """The first line of an error's text; nothing where there is none, or where making it fails.

    Where a traceback begins in that line, as it does of code that XLA calls back, what the traceback is of.
    """
    try:
        lines = str(error).strip().splitlines()
    except Exception:  # the text is made by whoever wrote the class
        return ""
    if not lines:
        return ""
    first, last = lines[0], ""
    if first.endswith(_TRACEBACK):
        last = next((line for line in lines[1:] if line.strip() and not line[0].isspace()), "")
    return f"{first.removesuffix(_TRACEBACK)}{last}"[:MAX_CHARACTERS]
