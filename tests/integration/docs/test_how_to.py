"""The how-to on a job type of one's own, done as it is written: its files, its commands, a real server and worker."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "own-job-type.md"
ORDERS = "id,customer,amount\n1,ann,10.5\n1,bob,20\n2,ann,5\n"
NARRATIVE = [sys.executable, "-m", "prefect_narrative.cli"]


def named_files(page: str) -> dict[str, str]:
    """The blocks that stand below a file's name."""
    return dict(re.findall(r"^`([\w.]+)`:\n\n```\w+\n(.*?)^```$", page, re.MULTILINE | re.DOTALL))


def commands(page: str) -> list[str]:
    """The lines of all shell blocks."""
    blocks = re.findall(r"^```bash\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


@dataclass
class Reader:
    """Somebody who does what the page says, in a folder of their own."""

    folder: Path
    environment: dict[str, str]
    commands: list[str]

    def shell(self, command: str, code: int = 0) -> str:
        environment = {**self.environment, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def submit(self, *inputs: str) -> str:
        """Ask for a job of the page's type and return its id."""
        return str(json.loads(self.shell(" ".join(["narrative submit find-duplicates --json", *inputs])))["job_id"])

    def ended(self, job_id: str) -> Mapping[str, Any]:
        self.shell(f"narrative jobs wait {job_id} || true")
        return dict(json.loads(self.shell(f"narrative jobs show {job_id} --json")))

    def deployment(self) -> Mapping[str, Any]:
        """What Prefect knows of the page's deployment."""
        url = f"{self.environment['PREFECT_API_URL']}/deployments/name/find-duplicates/narrative"
        until = time.monotonic() + 20
        while (answer := httpx.get(url, trust_env=False)).status_code == 503 and time.monotonic() < until:
            time.sleep(0.5)  # a server on SQLite sometimes answers 503, "database is locked"
        return dict(answer.raise_for_status().json())


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    folder = tmp_path_factory.mktemp("reader")
    page = PAGE.read_text()
    for name, text in named_files(page).items():
        (folder / name).write_text(text)
    (folder / "orders.csv").write_text(ORDERS)
    (folder / "tmp").mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("NARRATIVE_", "PREFECT_"))}
    environment = {
        **kept,
        "HOME": str(folder),
        "TMPDIR": str(folder / "tmp"),
        "NARRATIVE_HOME": str(folder / "home"),
        "PYTHONPATH": str(folder),
    }
    with (folder / "up.err").open("w") as errors:
        up = subprocess.Popen(
            [*NARRATIVE, "up", "--json", "--import-root", str(folder)],
            env=environment,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        assert up.stdout is not None
        with up.stdout:
            told = up.stdout.readline()
        assert told, (folder / "up.err").read_text()
        started = Reader(folder, {**environment, "PREFECT_API_URL": json.loads(told)["api_url"]}, commands(page))
        deploy = next(line for line in started.commands if line.startswith("prefect "))
        started.shell(deploy)
        started.shell("narrative submit create-dataset name=orders source=orders.csv --wait")
        yield started
    finally:
        up.terminate()
        up.wait(60)


def test_every_command_of_the_page_is_known() -> None:
    known = ("PYTHONPATH=$PWD narrative up", "export ", "prefect --no-prompt deploy --all", "narrative ")
    assert all(line.startswith(known) for line in commands(PAGE.read_text()))
    assert set(named_files(PAGE.read_text())) == {"find_duplicates.py", "prefect.yaml"}


@pytest.mark.long  # a platform and three jobs of its own
def test_the_commands_do_what_the_page_says(reader: Reader) -> None:
    doubled, allowed, listed = [line for line in reader.commands if line.startswith("narrative ")]
    reader.shell(doubled, code=1)
    reader.shell(allowed)
    jobs = json.loads(reader.shell(f"{listed} --json"))["jobs"]
    completed, failed = (reader.ended(job["job_id"]) for job in jobs)

    assert (completed["state"], completed["type"], completed["dataset"]) == ("completed", "find-duplicates", "orders")
    assert completed["sources"] == ["orders"]
    assert completed["result"] == {
        "dataset": "orders",
        "snapshot_id": completed["result"]["snapshot_id"],
        "rows": 3,
        "duplicate_rows": 0,
    }
    assert completed["progress"]["message"] == "counting"

    assert failed["state"] == "failed"
    (failure,) = failed["failures"]
    assert (failure["kind"], failure["code"]) == ("data", "too_many_duplicates")
    assert failure["message"] == "1 of the 3 rows in 'orders' repeat a key; at most 0 may."
    assert failure["detail"] == {"rows": 3, "duplicate_rows": 1}
    assert "most_duplicates" in failure["remedy"]
    assert not failure["retryable"]


@pytest.mark.long  # a platform and three jobs of its own
def test_inputs_are_refused_as_the_page_says(reader: Reader) -> None:
    misspelt = reader.submit("dataset=orders", """'key=["id"]'""", "most=3", "max_retries=0")
    missing = reader.submit("dataset=orders", """'key=["nr"]'""")
    with httpx.Client(base_url=reader.environment["PREFECT_API_URL"], timeout=30, trust_env=False) as http:
        url = f"/deployments/{reader.deployment()['id']}/create_flow_run"
        broken: list[dict[str, Any]] = [
            {"key": "id"},
            {"key": []},
            {"most_duplicates": -1},
            {"max_retries": 21},
            {"timeout_seconds": 0},
        ]
        for inputs in broken:
            answer = http.post(url, json={"parameters": {"dataset": "orders", "key": ["id"], **inputs}})
            assert answer.status_code == 409
            assert next(iter(inputs)) in answer.text

    (failure,) = reader.ended(missing)["failures"]
    assert (failure["kind"], failure["code"]) == ("input", "column_not_found")
    assert failure["detail"] == {"columns": ["amount", "customer", "id"]}
    (died,) = reader.ended(misspelt)["failures"]
    assert died["kind"] == "infrastructure"


@pytest.mark.long  # a platform and three jobs of its own
def test_prefects_form_has_the_inputs_with_their_descriptions(reader: Reader) -> None:
    form = reader.deployment()["parameter_openapi_schema"]["properties"]
    assert list(form) == ["dataset", "key", "most_duplicates", "data_plane", "timeout_seconds", "max_retries"]
    assert form["key"]["description"] == "The columns that tell rows apart."
    assert form["most_duplicates"]["minimum"] == 0
    assert "600 seconds" in form["timeout_seconds"]["description"]
