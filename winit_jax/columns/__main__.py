"""Write the generated parts of a page anew: `python -m winit_jax.columns docs/definitions.md`."""

import sys
from pathlib import Path

from winit_jax.columns.page import written_anew


def main(words: list[str]) -> int:
    """Exit code: 0, or 2 with a sentence on stderr where the page cannot be read or does not have the marks."""
    if len(words) != 1:
        print("usage: python -m winit_jax.columns PAGE", file=sys.stderr)
        return 2
    path = Path(words[0])
    try:
        path.write_text(written_anew(path.read_text(encoding="utf-8")), encoding="utf-8")
    except (OSError, ValueError) as error:
        print(f"{path}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
