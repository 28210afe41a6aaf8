"""The package as it is installed: every folder is in it, nothing shadows, what must be light is light."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from prefect import Flow
from prefect.testing.standard_test_suites import BlockStandardTestSuite
from prefect_narrative.blocks import DataPlane, PriceList
from prefect_narrative.deployments.apply import input_schema, load
from prefect_narrative.deployments.declarations import BASE_JOB_TEMPLATE, DECLARATIONS, Declaration, as_prefect_yaml
from prefect_narrative.deployments.prefect_yaml import render

import prefect_narrative

TOP = Path(__file__).parents[3]
MAPPED = {"flows": TOP / "flows", "blocks": TOP / "blocks", "deployments": TOP / "deployments"}


def test_package_list_is_what_the_folders_are() -> None:
    listed = tomllib.loads((TOP / "pyproject.toml").read_text())["tool"]["setuptools"]
    source = TOP / "src" / "prefect_narrative"
    found = {
        ".".join(("prefect_narrative", *file.parent.relative_to(source).parts)) for file in source.rglob("__init__.py")
    }
    for name, folder in MAPPED.items():
        assert listed["package-dir"][f"prefect_narrative.{name}"] == name
        found |= {
            ".".join(("prefect_narrative", name, *file.parent.relative_to(folder).parts))
            for file in folder.rglob("__init__.py")
        }
    assert sorted(listed["packages"]) == sorted(found)


def test_no_module_is_named_like_one_of_the_standard_library() -> None:
    folders = [*MAPPED.values(), TOP / "src", TOP / "bench"]
    names = {file.stem for folder in folders for file in folder.rglob("*.py")} - {"__init__", "__main__"}
    assert not names & set(sys.stdlib_module_names)


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("prefect_narrative", {"prefect", "duckdb", "sqlalchemy", "pandas"}),
        ("prefect_narrative.cli", {"prefect", "duckdb", "sqlalchemy", "pandas"}),
        ("prefect_narrative.blocks", {"duckdb", "sqlglot", "pandas", "prefect_narrative.jobs"}),
        ("prefect_narrative.planes", {"prefect", "duckdb", "prefect_narrative.jobs"}),
        ("prefect_narrative.jobs.sql", {"prefect", "duckdb", "alembic"}),
        ("prefect_narrative.testing", {"prefect", "duckdb", "pytest"}),
        ("prefect_narrative.api.serving", {"prefect", "duckdb", "sqlalchemy"}),
    ],
)
def test_what_must_be_light_imports_nothing_heavy(module: str, heavy: set[str]) -> None:
    code = f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))"
    loaded = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
    assert not heavy & set(loaded)


def test_prefect_yaml_is_made_from_the_declarations() -> None:
    text = (TOP / "prefect.yaml").read_text()
    assert text == render()
    assert yaml.safe_load(text) == as_prefect_yaml()
    assert json.loads((TOP / "deployments" / "work-pool.json").read_text()) == BASE_JOB_TEMPLATE


@pytest.mark.parametrize("one", DECLARATIONS, ids=lambda one: one.type)
def test_each_declaration_is_a_flow_with_a_form_that_explains_itself(one: Declaration) -> None:
    flow = load(one)
    assert isinstance(flow, Flow)
    assert flow.name == one.type
    schema = input_schema(flow, one.required)
    assert schema["additionalProperties"] is False
    for name, field in schema["properties"].items():
        assert field.get("description"), f"{one.type} does not explain {name}"
    assert {"data_plane", "timeout_seconds", "max_retries"} <= set(schema["properties"])


def test_public_names_are_there() -> None:
    for name in prefect_narrative.__all__:
        assert getattr(prefect_narrative, name) is not None


class TestDataPlaneBlock(BlockStandardTestSuite):
    @pytest.fixture
    def block(self) -> type[DataPlane]:
        return DataPlane


class TestPriceListBlock(BlockStandardTestSuite):
    @pytest.fixture
    def block(self) -> type[PriceList]:
        return PriceList
