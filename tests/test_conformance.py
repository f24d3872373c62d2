"""The page of served operations says what the server does with the installed SDK."""

from __future__ import annotations

import re
from importlib.metadata import version

import pytest
from benchmarks.conformance import PAGE, Verdict, page, verdicts

pytest.importorskip("wandb")


pytestmark = pytest.mark.slow  # reads a hundred megabytes of the SDK


@pytest.fixture(scope="module")
def found() -> list[Verdict]:
    return verdicts()


def test_the_page_is_current(found: list[Verdict]) -> None:
    written = PAGE.read_text(encoding="utf-8")
    named = re.search(r"`wandb` SDK (\S+) ", written)
    assert named
    if named[1] != version("wandb"):
        pytest.skip(f"the page is about wandb {named[1]}, and {version('wandb')} is installed")
    assert page(found) == written, "run `python -m benchmarks.conformance`"


def test_what_is_not_served_is_left_out_for_a_reason(found: list[Verdict]) -> None:
    assert [one for one in found if one.missing and one.area == "others"] == []


def test_operations_of_both_halves_of_the_sdk_are_found(found: list[Verdict]) -> None:
    served = {one.name: one.home for one in found if not one.missing}
    assert served["UpsertBucket"] == served["EnqueueSweepRun"] == "wandb-core"
    assert served["GetSweeps"] == "apis/_generated/operations.py"


def test_what_the_schema_does_not_have_is_named(found: list[Verdict]) -> None:
    missing = {one.name: one.missing for one in found}
    assert missing["DeleteRunQueue"] == ("Mutation.deleteRunQueues",)
    assert "Project.artifactTypes(includeAll)" in missing["UpsertRegistry"]
