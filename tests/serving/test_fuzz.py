"""Requests made from the API's own description, and against it: none finds a mistake of the server."""

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from made_server import HERE, client_of, make_library
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

NUM_EXAMPLES = 30


@pytest.fixture(scope="module")
def described(place, clover, tmp_path_factory):
    """The description of an application that takes uploads, and a client of it."""
    folder = tmp_path_factory.mktemp("fuzzed").resolve()
    make_library(folder / "library", clover, [place / "videos" / "2.mp4"])
    limits = {"uploads": folder / "uploads", "max_upload_bytes": 50_000}
    with client_of(folder / "library", clover, **limits) as client:
        plain = client.get("/api/openapi.json").json()
        video = client.get("/api/videos").json()["videos"][0]["id"]
        for path, operations in plain["paths"].items():
            if "{video}" in path:  # most examples should be about a video that there is
                schema = operations["get"]["parameters"][0]["schema"]
                schema.clear()
                schema.update({"anyOf": [{"const": video}, {"type": "string", "minLength": 1}]})
        config = schemathesis.Config()
        config.generation.update(modes=[GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
        yield schemathesis.openapi.from_dict(plain, config=config), client


schema = schemathesis.pytest.from_fixture("described_schema")


@pytest.fixture
def described_schema(described):
    return described[0]


@schema.parametrize()
@settings(
    max_examples=NUM_EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
def test_no_request_finds_a_mistake(described, case):
    response = case.call(base_url=HERE, session=described[1])
    case.validate_response(
        response,
        checks=[not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance],
    )
