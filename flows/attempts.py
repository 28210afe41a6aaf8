"""What a job does first on its plane: take over from earlier attempts."""

from prefect_narrative.jobs.context import current_job
from prefect_narrative.planes.plane import Plane, Published


def take_over(plane: Plane) -> Published | None:
    """Keep earlier attempts of the job from publishing, where there were any; return what one of them has published.

    Raises:
        FencedError: a newer attempt has taken over, or the job was cancelled.
    """
    context = current_job()
    if context.attempt.follows:
        return plane.claim(context.job_id, context.token)
    return plane.published(context.job_id)  # a claim is a commit to the lake, which a first attempt does not need
