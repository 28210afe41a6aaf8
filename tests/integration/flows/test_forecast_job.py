"""`forecast-query` as a flow against a real server: its figures, what settles it, and what the terminal shows."""

from uuid import UUID

import pytest
from live_platform import Platform
from prefect import Flow, State
from prefect_narrative.flows.create_dataset import create_dataset
from prefect_narrative.flows.create_materialized_view import create_materialized_view
from prefect_narrative.flows.forecast_query import QueryForecast, forecast_query

from prefect_narrative.jobs.record import Job
from prefect_narrative.jobs.states import JobState

CITIES = "SELECT city, count(*) AS n FROM tours GROUP BY city"


def run(platform: Platform, flow: Flow[..., object], **inputs: object) -> Job:
    state: State[object] = flow(**inputs, return_state=True)
    record = platform.store().get(UUID(str(state.state_details.flow_run_id)))
    assert record is not None
    assert record.state is JobState.COMPLETED, record.failures
    return record


def test_a_forecast_is_settled_by_the_run_that_follows(platform: Platform, capsys: pytest.CaptureFixture[str]) -> None:
    (platform.imports / "tours.csv").write_text("city,amount\n" + "".join(f"c{i % 7},{i}\n" for i in range(200)))
    run(platform, create_dataset, name="tours", source="tours.csv", write_mode="overwrite")

    forecast = run(platform, forecast_query, query=CITIES)
    told = QueryForecast.model_validate(forecast.result)
    assert (told.rows, told.rows_low, told.rows_high, told.exact) == (7, 7, 7, False)
    assert [(one.dataset, one.rows, one.of_rows) for one in told.sources] == [("tours", 200, 200)]
    assert told.cost_micro_cents_usd == sum(line.amount_micro_cents_usd for line in told.breakdown)
    assert forecast.sources == ("tours",)

    view = run(
        platform,
        create_materialized_view,
        name="tour_cities",
        query=f"-- laid out anew\n {CITIES}",
        if_exists="replace",
    )
    assert view.forecast_job_id == forecast.job_id

    exact = run(platform, forecast_query, query=CITIES, exact=True)
    assert (exact.result or {})["rows"] == 7
    again = QueryForecast.model_validate(run(platform, forecast_query, query=CITIES).result)
    assert again.expected_by == "2 runs of the same query"
    assert again.expected_seconds is not None

    from prefect_narrative.cli.forecasts import accuracy, list_forecasts

    assert accuracy(as_json=False) == 0
    assert "create-materialized-view" in (shown := capsys.readouterr().out), shown
    assert list_forecasts(as_json=False) == 0
    assert str(forecast.job_id)[:8] in capsys.readouterr().out
