"""Errors in one line, also those of code that is not ours."""

MAX_CHARACTERS = 300
_TRACEBACK = "Traceback (most recent call last):"


class WinitError(Exception):
    """What is said to a user instead of what was asked for; str() is the text, sentences without a place in the code.

    code: what the command line exits with; 2 where the request was wrong.
    """

    code = 2


class Refused(WinitError):
    """A request that is not carried out, in a sentence. code: what the command line exits with."""

    def __init__(self, text: str, code: int = 2) -> None:
        super().__init__(text)
        self.code = code


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
