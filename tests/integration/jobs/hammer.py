"""A process that brings news to the job table, doubled and out of order: hammer.py URL SEED JOBS [new]."""

import json
import random
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from uuid import UUID

from prefect_narrative.jobs.record import Executor, JobId, Observation, Usage
from prefect_narrative.jobs.sql import open_store
from prefect_narrative.settings import Settings


def main() -> None:
    url, seed, file = sys.argv[1:]
    chance, token = random.Random(int(seed)), 1000 + int(seed)
    news = [Observation.model_validate(one) for one in json.loads(Path(file).read_text())]
    jobs = sorted({one.job_id for one in news}, key=str)
    work = [("news", one) for one in news * 2] + [("usage", job_id) for job_id in jobs] + [("start", jobs[0])]
    chance.shuffle(work)
    settings = Settings(home=Path(file).parent / "home", database_url=url)
    with open_store(settings, patience=timedelta(seconds=60)) as store:

        def do(one: tuple[str, Observation | UUID]) -> None:
            kind, what = one
            if isinstance(what, Observation):
                store.apply(what, cause=f"process {seed}")
                return
            while store.get(JobId(what)) is None:
                store.apply(chance.choice(news), cause=f"process {seed}")
            if kind == "usage":
                store.add_usage(JobId(what), token, Usage(read_rows=1))
            else:
                store.begin_attempt(JobId(what), Executor(host="here", pid=int(seed)))

        with ThreadPoolExecutor(3) as pool:
            list(pool.map(do, work))


if __name__ == "__main__":
    main()
