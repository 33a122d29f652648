"""Files that belong together by their names: labels beside images, a test set beside a training set."""

import re
from pathlib import Path

# Words of a file name, and what they become in the name of its labels.
LABELS_OF = (
    ("images", ("labels",)),
    ("image", ("label",)),
    ("x", ("y",)),
    ("X", ("y", "Y")),
    ("data", ("labels", "target", "targets")),
)
TEST_WORDS = ("t10k", "test")


def labels_beside(path: Path) -> Path | None:
    """The file of labels of a file of images, compressed or not; None if there is none."""
    for word, others in LABELS_OF:
        for label_word in others:
            if (name := _with(path.name, word, label_word)) is not None:
                name = name.replace("idx3", "idx1")
                if (labels_path := packed_or_not(path.with_name(name))) is not None:
                    return labels_path
    return None


def tests_beside(path: Path) -> Path | None:
    """The test file of a file for training, compressed or not; None if there is none."""
    for test_word in TEST_WORDS:
        name = _with(path.name, "train", test_word)
        if name is not None and (tests_path := packed_or_not(path.with_name(name))) is not None:
            return tests_path
    return None


def packed_or_not(path: Path) -> Path | None:
    """The file of that name, or of that name with or without .gz; None if there is none."""
    plain = path.with_name(path.name.removesuffix(".gz"))
    for candidate in (path, plain, plain.with_name(f"{plain.name}.gz")):
        if candidate.is_file():
            return candidate
    return None


def _with(name: str, word: str, replacement: str) -> str | None:
    """The name with its first such word replaced; None if it has no such word."""
    changed, count = re.subn(rf"(?<![A-Za-z0-9]){word}(?![A-Za-z0-9])", replacement, name, count=1)
    return changed if count else None
