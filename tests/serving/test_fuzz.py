"""Requests to a real server, made from its own description of the API and against it: none finds a mistake."""

import shutil

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from made_server import END_SECONDS, served
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

NUM_EXAMPLES = 25
OPERATIONS = (
    "GET /api/health",
    "GET /metrics",
    "POST /api/session",
    "DELETE /api/session",
    "GET /api/library",
    "POST /api/search",
    "POST /api/ask",
    "POST /api/uploads",
    "GET /api/uploads/{upload}",
    "GET /api/videos",
    "GET /api/videos/{video}",
    "GET /api/videos/{video}/file",
    "GET /api/videos/{video}/thumbnail",
    "GET /api/videos/{video}/clip",
)
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture(scope="module")
def address(place, tmp_path_factory):
    """Of a server of its own that takes uploads."""
    folder = tmp_path_factory.mktemp("fuzzed")
    shutil.copytree(place / "library", folder / "library")
    with served(folder / "library", "--max-upload-mib", "1") as (_, address):
        yield address


@pytest.fixture(scope="module")
def described(address):
    """The server's description; most examples are about a video that there is, the others about anything."""
    plain = httpx2.get(f"{address}/api/openapi.json", timeout=END_SECONDS).raise_for_status().json()
    video = httpx2.get(f"{address}/api/videos", timeout=END_SECONDS).json()["videos"][0]["id"]
    for path, operations in plain["paths"].items():
        if "{video}" in path:
            operations["get"]["parameters"][0]["schema"] = {"anyOf": [{"const": video}, {"type": "string"}]}
    return schemathesis.openapi.from_dict(plain)


def test_every_operation_is_tried(described):
    assert {operation.ok().label for operation in described.get_all_operations()} == set(OPERATIONS)


@pytest.mark.parametrize("label", OPERATIONS)
def test_no_request_finds_a_mistake(address, described, label):
    method, path = label.split()
    operation = described[path][method]
    cases = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
    if operation.body or operation.query or operation.path_parameters:
        cases |= operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)

    @given(cases)
    @settings(max_examples=NUM_EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    def check(case):
        case.validate_response(case.call(base_url=address, timeout=END_SECONDS), checks=CHECKS)

    check()
