"""Showing samples that were kept, with what has come to be sensitive since redacted, too."""

from collections.abc import Sequence

from prefect_narrative.errors import NarrativeError
from prefect_narrative.planes.plane import KeptSample, Plane
from prefect_narrative.samples.sample import Sample, SampleHead
from prefect_narrative.views.sensitivity import Sensitivity


def kept_heads(plane: Plane) -> list[SampleHead]:
    """Return what is known of all samples, by name."""
    return [SampleHead.model_validate(one.head) for one in plane.samples()]


def kept_sample(plane: Plane, name: str) -> Sample:
    """Return a sample, as it may be shown now.

    Raises:
        SampleNotFoundError: there is none, with the nearest names.
    """
    return shown(plane, plane.kept_sample(name))


def shown(plane: Plane, kept: KeptSample) -> Sample:
    """Return a kept sample with the columns redacted that were sensitive when it was taken, or are now."""
    head = SampleHead.model_validate(kept.head)
    return Sample.of(head.redacting(_sensitive_now(plane, head)), kept.rows)


def _sensitive_now(plane: Plane, head: SampleHead) -> Sequence[bool]:
    """Return which columns count as sensitive now; where its sources are gone, nobody can have marked any since."""
    sensitivity = Sensitivity(plane)
    names = [column.name for column in head.columns]
    if head.dataset is not None:
        hidden = sensitivity.of_dataset(head.dataset)
        return [name.casefold() in hidden for name in names]
    try:
        outputs = sensitivity.outputs(plane.check(str(head.query)))
    except NarrativeError:
        return [False] * len(names)
    return [outputs.has(name) for name in names]
