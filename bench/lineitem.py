"""TPC-H's lineitem as a Parquet file: `python lineitem.py <folder> <scale> <columns>`; it needs the bench extra."""

import sys
from pathlib import Path

import duckdb

from prefect_narrative.planes.extensions import wheel_path


def main(folder: str, scale: str, columns: str) -> None:
    """Make the rows and write them."""
    path = wheel_path("tpch", duckdb.__version__)
    if path is None:
        raise SystemExit("TPC-H's data needs `pip install 'prefect-narrative[bench]'`.")
    connection = duckdb.connect()
    connection.execute(f"LOAD '{path}'")
    connection.execute(f"CALL dbgen(sf = {float(scale)})")
    target = Path(folder) / "lineitem.parquet"
    connection.execute(f"COPY (SELECT {columns} FROM lineitem) TO '{target}' (FORMAT parquet, COMPRESSION zstd)")


if __name__ == "__main__":
    main(*sys.argv[1:])
