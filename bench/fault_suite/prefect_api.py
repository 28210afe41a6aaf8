"""Prefect's API as the suite uses it: what somebody with a browser or `curl` could do, and nothing of ours."""

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

POOL = "narrative"
LONELY_POOL = "lonely"
"""A pool that no worker asks for work."""
DEPLOYMENT = "faults"


class PrefectApi:
    """Calls to one server, tried again while it says that its database is busy.

    Args:
        url: The API's address.
    """

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=10, trust_env=False)

    def close(self) -> None:
        """Release connections."""
        self._client.close()

    def healthy(self) -> bool:
        """Return whether the server answers."""
        try:
            return self._client.get("/health", timeout=2).is_success
        except httpx.HTTPError:
            return False

    def glance(self, run_id: str) -> tuple[bool, dict[str, Any] | None]:
        """Return whether the server answered at once, and the run; None where it has no such run."""
        try:
            answer = self._client.get(f"/flow_runs/{run_id}", timeout=1)
            if answer.status_code == httpx.codes.NOT_FOUND:
                return True, None
            return answer.is_success, answer.json() if answer.is_success else None
        except (httpx.HTTPError, ValueError):
            return False, None

    def run(self, run_id: str) -> dict[str, Any] | None:
        """Return a run, or None where there is none."""
        answer = self._call("GET", f"/flow_runs/{run_id}", allowed=(404,))
        return None if answer.status_code == httpx.codes.NOT_FOUND else answer.json()

    def states(self, run_id: str) -> list[dict[str, Any]]:
        """Return the states that a run has been in, oldest first."""
        answer = self._call("GET", "/flow_run_states/", params={"flow_run_id": run_id})
        return sorted(answer.json(), key=lambda one: one["timestamp"])

    def runs(self, **narrowed: Any) -> list[dict[str, Any]]:
        """Return all runs that a filter of Prefect's lets through."""
        found: list[dict[str, Any]] = []
        while page := self._call(
            "POST", "/flow_runs/filter", json={"flow_runs": narrowed, "limit": 200, "offset": len(found)}
        ).json():
            found += page
        return found

    def warnings(self, run_id: str) -> list[str]:
        """Return what was logged about a run that is not as it should be, oldest first."""
        narrowed = {"flow_run_id": {"any_": [run_id]}, "level": {"ge_": 30}}
        found = self._call("POST", "/logs/filter", json={"logs": narrowed, "sort": "TIMESTAMP_ASC", "limit": 30}).json()
        return [f"{one['timestamp'][11:23]} {one['message'].strip().splitlines()[-1]}" for one in found]

    def polled_since(self, pool: str, since: datetime) -> bool:
        """Return whether a worker has asked a pool for work since a time."""
        try:
            queues = self._client.post(f"/work_pools/{pool}/queues/filter", json={}).raise_for_status().json()
        except (httpx.HTTPError, ValueError):
            return False
        return any(one.get("last_polled") and datetime.fromisoformat(one["last_polled"]) >= since for one in queues)

    def make_pool(self, name: str) -> None:
        """Make a process pool."""
        template: dict[str, Any] = {
            "job_configuration": {"stream_output": True},
            "variables": {"type": "object", "properties": {}},
        }
        self._call("POST", "/work_pools/", json={"name": name, "type": "process", "base_job_template": template})

    def deploy(self, flow: str, entrypoint: str, *, name: str = DEPLOYMENT, pool: str = POOL, **more: Any) -> str:
        """Deploy a flow as a job type and return the deployment's id."""
        flow_id = self._call("POST", "/flows/", json={"name": flow}).json()["id"]
        deployment = {
            "name": name,
            "flow_id": flow_id,
            "entrypoint": entrypoint,
            "work_pool_name": pool,
            "pull_steps": [],
            "tags": ["narrative"],
            "enforce_parameter_schema": False,
            **more,
        }
        return str(self._call("POST", "/deployments/", json=deployment).json()["id"])

    def deployment_id(self, name: str) -> str:
        """Return the id of a deployment by `flow/deployment`."""
        return str(self._call("GET", f"/deployments/name/{name}").json()["id"])

    def trigger(
        self, deployment_id: str, parameters: Mapping[str, Any], *, after: timedelta | None = None, **more: Any
    ) -> dict[str, Any]:
        """Ask for a run, now or later."""
        state: dict[str, Any] = {"type": "SCHEDULED"}
        if after is not None:
            state["state_details"] = {"scheduled_time": (datetime.now(UTC) + after).isoformat()}
        body = {"parameters": dict(parameters), "state": state, **more}
        made: dict[str, Any] = self._call("POST", f"/deployments/{deployment_id}/create_flow_run", json=body).json()
        return made

    def set_state(
        self, run_id: str, type: str, name: str | None = None, *, force: bool = False, **details: Any
    ) -> dict[str, Any]:
        """Ask for a state as Prefect's UI does; return the answer: its `status`, and the `state` that stands."""
        state: dict[str, Any] = {"type": type, "name": name or type.title(), "state_details": details}
        body = {"state": state, "force": force}
        answered: dict[str, Any] = self._call("POST", f"/flow_runs/{run_id}/set_state", json=body).json()
        return answered

    def cancel(self, run_id: str) -> dict[str, Any]:
        """Do what the Cancel button does."""
        return self.set_state(run_id, "CANCELLING", "Cancelling")

    def retry(self, run_id: str) -> dict[str, Any]:
        """Do what the Retry button does."""
        now = datetime.now(UTC).isoformat()
        return self.set_state(run_id, "SCHEDULED", "AwaitingRetry", force=True, scheduled_time=now)

    def resume(self, run_id: str) -> None:
        """Do what the Resume button does."""
        self._call("POST", f"/flow_runs/{run_id}/resume", json={})

    def delete(self, run_id: str) -> None:
        """Delete a run."""
        self._call("DELETE", f"/flow_runs/{run_id}", allowed=(404,))

    def add_schedule(self, deployment_id: str, every: timedelta, first: datetime) -> str:
        """Give a deployment a schedule and return the schedule's id."""
        interval = {"interval": every.total_seconds(), "anchor_date": first.isoformat(), "timezone": "UTC"}
        body = [{"schedule": interval, "active": True}]
        made = self._call("POST", f"/deployments/{deployment_id}/schedules", json=body).json()
        return str(made[0]["id"])

    def drop_schedule(self, deployment_id: str, schedule_id: str) -> None:
        """Delete a schedule; Prefect deletes the runs that it has planned."""
        self._call("DELETE", f"/deployments/{deployment_id}/schedules/{schedule_id}")

    def _call(self, method: str, path: str, *, allowed: Sequence[int] = (), **values: Any) -> httpx.Response:
        for more in range(20, -1, -1):
            try:
                answer = self._client.request(method, path, **values)
            except httpx.TransportError:
                # A server on two busy cores may be slow to answer; who reads only may ask again.
                if not more or method not in {"GET", "DELETE"}:
                    raise
                time.sleep(0.5)
                continue
            if answer.status_code < httpx.codes.INTERNAL_SERVER_ERROR or not more:
                break
            time.sleep(0.3)  # "database is locked", it says
        if answer.status_code not in allowed and answer.is_error:
            raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text[:500]}")
        return answer
