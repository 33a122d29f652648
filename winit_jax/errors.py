"""Errors in one line, also those of code that is not ours."""

MAX_CHARACTERS = 300


def described(error: BaseException) -> str:
    """The kind of an error and the first line of what it says, as far as it says anything."""
    said = says(error)
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def says(error: BaseException) -> str:
    """The first line of an error's text; nothing where there is none, or where making it fails."""
    try:
        lines = str(error).strip().splitlines()
    except Exception:  # the text is made by whoever wrote the class
        return ""
    return lines[0][:MAX_CHARACTERS] if lines else ""
