"""What processes of our own do not import, and that they can where it is wanted after all."""

import subprocess
import sys

CODE = """
import sys
from winit_jax.system.imports import leave_pandas_out
leave_pandas_out()
import pyarrow as pa
table = pa.table({"gain": pa.array([0.5, 2.0]), "name": pa.array(["a", "b"]).dictionary_encode()})
assert "pandas" not in sys.modules
frame = table.to_pandas()
assert type(frame).__name__ == "DataFrame" and frame["name"].dtype == "category"
assert pa.Table.from_pandas(frame, preserve_index=False).to_pydict() == table.to_pydict()
assert pa.array(frame["gain"]).to_pylist() == [0.5, 2.0]
"""


def test_a_run_makes_tables_without_pandas_and_reads_them_with_it():
    subprocess.run([sys.executable, "-c", CODE], check=True)
