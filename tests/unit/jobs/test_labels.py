"""A label that could not be written is refused where the job type is made, not in each of its runs."""

import pytest
from pydantic import BaseModel

from prefect_narrative.jobs.job import JOB_TYPES, InvalidJobTypeError, job


class Done(BaseModel):
    """What the job has made."""


@pytest.mark.parametrize("label", ["load {missing}", "load {}", "load {0}", "load {name", "load {name:%Y}", "{name.x}"])
def test_a_label_that_is_no_format_string_over_the_inputs_is_refused(label: str) -> None:
    with pytest.raises(InvalidJobTypeError, match="label"):

        @job(type="labelled", label=label)
        def labelled(name: str) -> Done:
            return Done()

    assert "labelled" not in JOB_TYPES


def test_a_label_may_use_every_input_and_braces() -> None:
    @job(type="labelled", label="{{load}} {name} within {timeout_seconds}")
    def labelled(name: str) -> Done:
        return Done()

    assert JOB_TYPES.pop("labelled").label.startswith("{{load}}")
