"""Queries of our own over the flights from New York in 2013, of many forms, by what they are."""

OWN = {
    "filter": "SELECT * FROM flights WHERE dep_delay > 60",
    "filter rare": "SELECT flight, dest FROM flights WHERE dep_delay > 400",
    "filter two": "SELECT * FROM flights WHERE origin = 'JFK' AND month BETWEEN 3 AND 5",
    "filter in": "SELECT tailnum, air_time FROM flights WHERE dest IN ('LAX', 'SFO', 'SEA') AND hour < 9",
    "filter or": "SELECT * FROM flights WHERE carrier = 'HA' OR (distance > 2500 AND month = 7)",
    "filter null": "SELECT year, month, day, flight FROM flights WHERE dep_time IS NULL",
    "filter expression": "SELECT flight FROM flights WHERE air_time > 0 AND distance / air_time > 8",
    "filter text": "SELECT tailnum, dest FROM flights WHERE tailnum LIKE 'N5%'",
    "all rows": "SELECT origin, dest FROM flights",
    "limit": "SELECT * FROM flights WHERE carrier = 'AA' ORDER BY dep_delay DESC LIMIT 50",
    "offset": "SELECT flight FROM flights WHERE carrier = 'AS' ORDER BY time_hour LIMIT 1000 OFFSET 200",
    "group small": "SELECT carrier, count(*) AS n FROM flights GROUP BY carrier",
    "group pair": "SELECT origin, dest, avg(arr_delay) AS delay FROM flights GROUP BY origin, dest",
    "group many": "SELECT tailnum, count(*) AS n FROM flights GROUP BY tailnum",
    "group day": "SELECT month, day, carrier, count(*) AS n FROM flights GROUP BY month, day, carrier",
    "group near-unique": "SELECT month, day, tailnum, count(*) AS n FROM flights GROUP BY month, day, tailnum",
    "group filtered": "SELECT tailnum, max(dep_delay) AS worst FROM flights WHERE dep_delay > 120 GROUP BY tailnum",
    "group expression": "SELECT distance // 100 AS far, count(*) AS n FROM flights GROUP BY far",
    "having": "SELECT tailnum, count(*) AS n FROM flights GROUP BY tailnum HAVING count(*) > 100",
    "having rare": "SELECT dest, month, avg(dep_delay) AS d FROM flights GROUP BY ALL HAVING avg(dep_delay) > 25",
    "distinct": "SELECT DISTINCT flight FROM flights",
    "distinct two": "SELECT DISTINCT tailnum, origin FROM flights",
    "distinct on": "SELECT DISTINCT ON (carrier, dest) carrier, dest, dep_delay FROM flights ORDER BY dep_delay DESC",
    "one row": "SELECT count(*) AS n, avg(dep_delay) AS delay FROM flights WHERE month = 12",
    "join": "SELECT f.flight, p.model FROM flights AS f JOIN planes AS p USING (tailnum) WHERE p.engines > 2",
    "join filtered": """
        SELECT f.flight, a.name FROM flights AS f JOIN airlines AS a ON a.carrier = f.carrier
        WHERE a.name LIKE 'U%' AND f.arr_delay > 30
    """,
    "join left": """
        SELECT f.flight, p.year FROM flights AS f LEFT JOIN planes AS p ON p.tailnum = f.tailnum WHERE p.tailnum IS NULL
    """,
    "join weather": """
        SELECT f.flight, w.temp FROM flights AS f JOIN weather AS w
        ON w.origin = f.origin AND w.month = f.month AND w.day = f.day AND w.hour = f.hour
        WHERE w.wind_gust > 30 AND f.dep_delay > 0
    """,
    "join group": """
        SELECT p.manufacturer, f.dest, count(*) AS n FROM flights AS f JOIN planes AS p ON p.tailnum = f.tailnum
        GROUP BY p.manufacturer, f.dest
    """,
    "join self": """
        SELECT a.flight, b.flight AS next FROM flights AS a JOIN flights AS b
        ON b.tailnum = a.tailnum AND b.month = a.month AND b.day = a.day AND b.dep_time > a.arr_time
        WHERE a.carrier = 'DL'
    """,
    "semi join": "SELECT * FROM planes WHERE tailnum IN (SELECT tailnum FROM flights WHERE dest = 'HNL')",
    "anti join": """
        SELECT faa, name FROM airports AS a WHERE NOT EXISTS (SELECT 1 FROM flights AS f WHERE f.dest = a.faa)
    """,
    "correlated": """
        SELECT f.flight, f.dep_delay FROM flights AS f
        WHERE f.dep_delay > (SELECT 3 * avg(g.dep_delay) FROM flights AS g WHERE g.dest = f.dest)
    """,
    "in group": """
        SELECT flight, dest FROM flights WHERE tailnum IN
            (SELECT tailnum FROM flights GROUP BY tailnum HAVING count(*) BETWEEN 10 AND 20)
    """,
    "with": """
        WITH busy AS (SELECT dest, count(*) AS n FROM flights GROUP BY dest HAVING count(*) > 5000)
        SELECT f.carrier, f.dest, count(*) AS n FROM flights AS f JOIN busy USING (dest) GROUP BY f.carrier, f.dest
    """,
    "group of groups": """
        SELECT n, count(*) AS planes FROM (SELECT tailnum, count(*) AS n FROM flights GROUP BY tailnum) AS t GROUP BY n
    """,
    "window": """
        SELECT * FROM (SELECT tailnum, time_hour, row_number() OVER (PARTITION BY tailnum ORDER BY time_hour) AS place
        FROM flights) AS t WHERE place <= 3
    """,
    "union all": "SELECT dest AS code FROM flights WHERE month = 1 UNION ALL SELECT faa FROM airports WHERE alt > 1000",
    "union": "SELECT dest AS code FROM flights UNION SELECT origin FROM flights",
    "intersect": "SELECT tailnum FROM flights WHERE month = 1 INTERSECT SELECT tailnum FROM flights WHERE month = 12",
    "rollup": "SELECT origin, carrier, count(*) AS n FROM flights GROUP BY ROLLUP (origin, carrier)",
    "cross": "SELECT a.name, b.name AS other FROM airlines AS a, airports AS b WHERE b.alt > 5000",
}
