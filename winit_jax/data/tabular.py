"""Samples as rows of a table: CSV, parquet, and the ARFF files of OpenML."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import csv

from winit_jax.data.bounded import File, InputError, refuse_beyond_memory
from winit_jax.data.samples import Source, as_images, as_labels
from winit_jax.wording import size

# The names of a column of labels, without regard to capitals; the first one there is taken.
LABELS = ("label", "labels", "class", "classes", "target", "targets", "fine_label", "y")
# Other labels of the same samples, which are no features.
OTHER_LABELS = ("coarse_label",)
# What pandas calls the column of an index that was written along.
INDEX_NAMES = ("", "Unnamed: 0", "__index_level_0__")
# Bytes that parsing takes for each byte of text: "0," becomes eight bytes in Arrow and eight in NumPy.
TIMES_TEXT = 10
SEPARATORS = (",", ";", "\t")
LISTS = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
# An ARFF file names its columns before the line @DATA.
MAX_ARFF_HEADER = 2**24


def read_csv(file: File) -> Source:
    """Rows of numbers between commas, semicolons or tabs, with or without names in the first line.

    The labels are the column of such a name (`LABELS`), else the only column of words. Without names, they are the
    last column, or else the first, if it holds words or whole numbers from 0 or 1 on without a gap. Errors: InputError.
    """
    text = file.read(TIMES_TEXT).removeprefix(b"\xef\xbb\xbf")
    commented = text.startswith(b"#")  # as np.savetxt writes its header
    text = text.removeprefix(b"#").lstrip(b" ") if commented else text
    first, rest = _line(text)
    separator = max(SEPARATORS, key=first.count)
    fields, below = (_fields(line, separator) for line in (first, _line(rest)[0]))
    named = commented or _are_names(fields, below)
    rows = rest if named else text
    if not rows.strip():
        raise InputError(f"{file.path} has no rows.")
    return _source(file, _parse(rows, separator), fields if named else None)


def read_arff(file: File) -> Source:
    """OpenML's tables: rows after a line @DATA, the class last. Errors: InputError."""
    with file.open() as stream:
        if b"@DATA" not in stream.read(MAX_ARFF_HEADER).upper():
            raise InputError(f"{file.path} is not ARFF: it has no line @DATA in its first {size(MAX_ARFF_HEADER)}.")
    text = file.read(TIMES_TEXT)
    start = text[:MAX_ARFF_HEADER].upper().index(b"@DATA")
    columns = _parse(text[text.index(b"\n", start) + 1 :], ",", quote="'")
    source = _source(file, columns, [*(f"feature {i}" for i in range(len(columns) - 1)), LABELS[0]])
    if source.images.dtype.kind == "f" and np.all(source.images % 1 == 0):
        return Source(source.images.astype(np.int64), source.labels, source.files)
    return source


def read_parquet(file: File) -> Source:
    """Rows of numbers, or one column with a list of numbers a row; labels as in `read_csv` by name.

    Errors: InputError.
    """
    with pq.ParquetFile(file.path) as table:
        about = table.metadata
        groups = (about.row_group(i) for i in range(about.num_row_groups))
        values = sum(group.column(j).num_values for group in groups for j in range(group.num_columns))
        refuse_beyond_memory(16 * max(values, about.num_rows), f"{file.path} with {values:,} values")
        content = table.read()
    return _source(file, content.columns, content.column_names)


def _line(text: bytes) -> tuple[str, bytes]:
    """(The first line, what follows it)."""
    line, _, rest = text.partition(b"\n")
    return line.decode("utf-8", "replace").strip("\r"), rest


def _fields(line: str, separator: str) -> list[str]:
    return [field.strip().strip("\"'") for field in line.split(separator)]


def _are_names(fields: Sequence[str], below: Sequence[str]) -> bool:
    """Whether the first line of a table names its columns: it has words where the next line has numbers.

    So it does where it has the name of a column of labels, or counts the columns from 0.
    """
    if len(fields) > 2 and list(fields) == [str(i) for i in range(len(fields))]:
        return True
    if any(field.lower() in LABELS for field in fields):
        return True
    words = [not _is_number(field) for field in fields]
    return any(words) and words != [not _is_number(field) for field in below]


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _parse(text: bytes, separator: str, quote: str = '"') -> list[pa.ChunkedArray]:
    options = csv.ReadOptions(autogenerate_column_names=True)
    parsing = csv.ParseOptions(delimiter=separator, quote_char=quote)
    columns: list[pa.ChunkedArray] = csv.read_csv(pa.BufferReader(text), options, parsing).columns
    return columns


def _source(file: File, columns: Sequence[pa.ChunkedArray], names: Sequence[str] | None) -> Source:
    path = file.path
    if not columns or not len(columns[0]):
        raise InputError(f"{path} has no rows.")
    if names is not None and len(names) != len(columns):
        raise InputError(f"{path} has {len(names):,} names for {len(columns):,} columns.")
    shown = names or [f"{i + 1}" for i in range(len(columns))]
    known = [i for i, name in enumerate(shown) if names is None or not _is_beside(name, columns[i])]
    chosen = _unnamed_labels(columns, file) if names is None else _named_labels(columns, names, known)
    features = [i for i in known if i != chosen]
    if not features:
        raise InputError(f"{path} has no columns of numbers beside the labels.")
    parts = [_numbers(columns[i], f"{path}: column {shown[i]!r}") for i in features]
    dtype = np.result_type(*(part.dtype for part in parts))
    images = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1, dtype=dtype)
    files = ((path.name, file.sha256()),)
    if chosen is None:
        return Source(as_images(images), None, files)
    column = columns[chosen]
    labels = _words(column) if _holds_words(column) else _numbers(column, f"{path}: column {shown[chosen]!r}")
    return Source(as_images(images), as_labels(labels, len(images), path), files)


def _is_beside(name: str, column: pa.ChunkedArray) -> bool:
    """Whether a column says nothing of a sample: the index of a data frame, or another kind of labels."""
    if name.lower() in OTHER_LABELS:
        return True
    return name in INDEX_NAMES and pa.types.is_integer(column.type) and column.null_count == 0


def _named_labels(columns: Sequence[pa.ChunkedArray], names: Sequence[str], known: Sequence[int]) -> int | None:
    by_name = {names[i].lower(): i for i in reversed(known)}
    place = next((by_name[name] for name in LABELS if name in by_name), None)
    if place is None:
        words = [i for i in known if _holds_words(columns[i])]
        return words[0] if len(words) == 1 and len(known) > 1 else None
    return place


def _unnamed_labels(columns: Sequence[pa.ChunkedArray], file: File) -> int | None:
    """Errors: InputError if the first column looks like labels, and so does the last."""
    if len(columns) < 2:
        return None
    places = [i for i in (len(columns) - 1, 0) if _look_like_labels(columns[i])]
    if len(places) == 2:
        raise InputError(
            f"{file.path}: the first column and the last both look like labels; "
            f"name the columns in the first line, and the labels {LABELS[0]!r}."
        )
    return places[0] if places else None


def _look_like_labels(column: pa.ChunkedArray) -> bool:
    """Whether a column holds words, or at least two whole numbers from 0 or 1 on without a gap."""
    if _holds_words(column):
        return True
    if not pa.types.is_integer(column.type) or column.null_count:
        return False
    classes = np.sort(pc.unique(column).to_numpy())
    return len(classes) > 1 and classes[0] in (0, 1) and bool(classes[-1] - classes[0] == len(classes) - 1)


def _holds_words(column: pa.ChunkedArray) -> bool:
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _words(column: pa.ChunkedArray) -> np.ndarray:
    """As an array of text; a missing word is a word of its own, the empty one."""
    return np.array([word or "" for word in column.to_pylist()], dtype=np.str_)


def _numbers(column: pa.ChunkedArray, where: str) -> np.ndarray:
    """A column as an array [rows, numbers in a row], NaN where they are missing. Errors: InputError."""
    rows, values = len(column), column.combine_chunks()
    if isinstance(values, pa.ChunkedArray):
        values = values.chunk(0)
    while any(is_list(values.type) for is_list in LISTS):
        lengths = pc.unique(pc.list_value_length(values))
        if len(lengths) > 1 or values.null_count:
            raise InputError(f"{where} has lists of {len(lengths):,} lengths; samples must be of one shape.")
        values = values.flatten()
    kind = values.type
    if pa.types.is_null(kind):
        return np.full((rows, 1), np.nan)
    if pa.types.is_struct(kind) or pa.types.is_binary(kind):
        raise InputError(f"{where} holds {kind}, as of compressed pictures; write them as numbers.")
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        raise InputError(f"{where} holds {'words' if _holds_words(column) else kind}, not numbers.")
    numbers: np.ndarray = values.to_numpy(zero_copy_only=False).reshape(rows, -1)
    return numbers
