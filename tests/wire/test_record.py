"""Runs as they are decoded from responses."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from aiowandb.errors import ServerError
from aiowandb.wire.record import RunRecord


def decoded(**fields: Any) -> RunRecord:
    wire = {"id": "UnVuOjE=", "name": "abc", "displayName": "brave-sun-1", **fields}
    return msgspec.json.decode(msgspec.json.encode(wire), type=RunRecord)


def test_the_names_are_those_of_the_python_api() -> None:
    run = decoded(jobType="train", historyLineCount=3, user={"name": "Me", "username": "me"})
    assert (run.id, run.name, run.storage_id) == ("abc", "brave-sun-1", "UnVuOjE=")
    assert run.display_name == run.name
    assert (run.job_type, run.history_line_count) == ("train", 3)
    assert run.user is not None
    assert run.user.username == "me"


def test_config_values_are_unwrapped_and_wandbs_own_keys_left_out() -> None:
    run = decoded(
        config='{"lr": {"value": 0.1, "desc": null}, "deep": {"value": {"a": [1]}},'
        ' "bare": 3, "_wandb": {"value": {}}, "wandb_version": 1}'
    )
    assert run.config == {"lr": 0.1, "deep": {"a": [1]}, "bare": 3}
    assert "_wandb" in run.raw_config


def test_a_summary_may_have_values_that_strict_json_does_not_have() -> None:
    run = decoded(summaryMetrics='{"loss": NaN, "best": -Infinity, "note": "a\tb", "n": 1}')
    assert math.isnan(run.summary["loss"])
    assert run.summary["best"] == -math.inf
    assert run.summary["note"] == "a\tb"


def test_what_cannot_be_decoded_is_named_with_its_run() -> None:
    run = decoded(config="{broken", summaryMetrics="{")
    with pytest.raises(ServerError, match=r"Run abc, config: W&B sent JSON"):
        run.config  # noqa: B018
    with pytest.raises(ServerError, match=r"Run abc, summary: W&B sent JSON"):
        run.summary  # noqa: B018


def test_nothing_is_an_empty_mapping() -> None:
    run = decoded(config=None, summaryMetrics=None, historyKeys=None)
    assert (run.config, dict(run.summary), run.last_step) == ({}, {}, -1)


def test_times_are_aware_with_and_without_a_zone_from_the_server() -> None:
    run = decoded(createdAt="2023-11-05T17:46:35", heartbeatAt="2023-11-05T17:46:35Z")
    assert run.created_at == run.heartbeat_at == datetime(2023, 11, 5, 17, 46, 35, tzinfo=UTC)


def test_history_keys_have_the_last_step() -> None:
    run = decoded(
        historyKeys={
            "lastStep": 41,
            "sets": [],
            "keys": {"loss": {"typeCounts": [{"type": "number", "count": 42}], "monotonic": True}},
        }
    )
    assert run.last_step == 41


def test_a_repr_fits_a_line_and_names_the_run() -> None:
    run = decoded(state="finished")
    run.entity, run.project = "me", "mnist"
    assert repr(run) == "<RunRecord me/mnist/abc (finished)>"
