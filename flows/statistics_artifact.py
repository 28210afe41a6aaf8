"""A profile as a Markdown artifact in Prefect, one for each dataset: a newer one takes the place of the older."""

from uuid import UUID

from prefect_narrative.flows.artifacts import escaped, key_of, put_artifact

from prefect_narrative.profiles.dataset_profile import Profile
from prefect_narrative.profiles.drawing import HEADS, cells

LARGEST = 500_000
"""Characters; columns that would make the text larger are left out of it."""


def show_profile(profile: Profile, data_plane: str, job_id: UUID) -> None:
    """Show a profile in the place of older ones of the same dataset."""
    put_artifact(key_of("profile", profile.dataset, data_plane), "markdown", markdown(profile), job_id)


def markdown(profile: Profile) -> str:
    """Return a profile as Markdown: a heading, and a table with a row for each column, as many as fit."""
    lines = [
        f"# {escaped(profile.dataset)}",
        "",
        f"{profile.rows:,} rows in snapshot {profile.snapshot_id}, {len(profile.columns):,} columns.",
        "",
        f"| {' | '.join(HEADS)} |",
        f"|{'---|' * len(HEADS)}",
    ]
    size, shown = sum(map(len, lines)), 0
    for column in profile.columns:
        line = f"| {' | '.join(escaped(cell) for cell in cells(column))} |"
        size += len(line)
        if size > LARGEST:
            break
        lines.append(line)
        shown += 1
    if shown < len(profile.columns):
        lines += ["", f"The first {shown:,} columns are shown here; all by `narrative profile {profile.dataset}`."]
    return "\n".join(lines) + "\n"
