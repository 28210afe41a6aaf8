"""The command line: `narrative`. It parses, calls and prints; what it does is done elsewhere."""

import os
import sys
import traceback
from collections.abc import Sequence

from cyclopts import App

from prefect_narrative.cli.exits import ExitCode, exit_code_of, told
from prefect_narrative.cli.output import Output

EXIT_CODES = """Exit codes:

- 0: done; of a job: completed
- 1: the job failed or was cancelled, or the command could not do its work
- 2: the command line, a value, a name or a query is refused
- 3: no such job, job type, dataset, column or sample
- 4: Prefect's API or the job table can't be reached, or refuses the credentials
- 5: the wait timed out
- 130: interrupted"""


def _version() -> str:
    from importlib.metadata import version  # noqa: PLC0415 - only where it is asked for

    return version("prefect-narrative")


def make_app() -> App:
    """Return the application; the modules of its commands are imported when they are used."""
    app = App(
        name="narrative",
        help="Jobs of a data platform, on Prefect: datasets, materialized views, and the table of their jobs.",
        help_epilogue=EXIT_CODES,
        version=_version,
    )
    here = "prefect_narrative.cli"
    app.command(f"{here}.demo:demo", name="demo", help="Show everything on real data, and clean up after it.")
    app.command(f"{here}.up:up", name="up", help="Start server, worker and reconciler on this machine.")
    app.command(f"{here}.deploy:deploy", name="deploy", help="Apply work pool, blocks and deployments to Prefect.")
    app.command(
        f"{here}.reconciler:reconciler", name="reconciler", help="Keep the job table true to Prefect, and serve it."
    )
    app.command(f"{here}.submit:submit", name="submit", help="Submit a job.")
    jobs = App(name="jobs", help="List, show, wait for, cancel and retry jobs.")
    jobs.command(f"{here}.jobs:list_jobs", name="list", help="List jobs, newest first.")
    jobs.command(f"{here}.jobs:show", name="show", help="Show everything about one job.")
    jobs.command(f"{here}.jobs:wait", name="wait", help="Wait until a job has ended.")
    jobs.command(f"{here}.job_actions:cancel", name="cancel", help="Cancel a job.")
    jobs.command(f"{here}.job_actions:retry", name="retry", help="Open a failed or cancelled job again.")
    app.command(jobs)
    datasets = App(name="datasets", help="List and show datasets and views, and say which columns are sensitive.")
    datasets.command(f"{here}.datasets:list_datasets", name="list", help="List datasets and views.")
    datasets.command(f"{here}.datasets:show", name="show", help="Show one dataset or view.")
    datasets.command(f"{here}.marks:mark", name="mark", help="Mark columns as sensitive.")
    datasets.command(f"{here}.marks:unmark", name="unmark", help="Take the mark of sensitive columns away.")
    app.command(datasets)
    views = App(name="views", help="List, show, drop, pause and resume materialized views.")
    views.command(f"{here}.views:list_views", name="list", help="List views: freshness, last refresh, next one.")
    views.command(f"{here}.views:show", name="show", help="Show everything about one view.")
    views.command(f"{here}.views:history", name="history", help="List what has become of a view, newest first.")
    views.command(f"{here}.view_actions:drop", name="drop", help="Drop views with their schedules.")
    views.command(f"{here}.view_actions:pause", name="pause", help="Pause a view's schedule.")
    views.command(f"{here}.view_actions:resume", name="resume", help="Let a view's schedule go on.")
    app.command(views)
    samples = App(name="samples", help="List, show and delete samples of datasets, views and queries.")
    samples.command(f"{here}.samples:list_samples", name="list", help="List the samples that are kept.")
    samples.command(f"{here}.samples:show", name="show", help="Show the rows of a sample.")
    samples.command(f"{here}.samples:delete", name="delete", help="Delete a sample.")
    app.command(samples)
    app.command(f"{here}.costs:costs", name="costs", help="Add up what the jobs of a period have cost.")
    app.command(f"{here}.profiles:profile", name="profile", help="Show what the columns of a dataset are like.")
    app.command(f"{here}.datasets:query", name="query", help="Run one SELECT and print its first rows.")
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        arguments: The command line without the program's name; None: this process's own.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    output = Output(as_json="--json" in given)
    _tolerate_odd_characters()
    try:
        code = make_app()(given, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
    except KeyboardInterrupt:
        output.note("interrupted")
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has seen enough; Python must not flush into the closed pipe at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK
    except Exception as exc:
        error = told(exc)
        if os.environ.get("NARRATIVE_TRACEBACK"):
            traceback.print_exception(exc)
        output.error(error)
        return exit_code_of(error)
    return ExitCode.OK if code is None else int(code)


def _tolerate_odd_characters() -> None:
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
