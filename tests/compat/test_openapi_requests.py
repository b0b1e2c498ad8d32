"""schemathesis against a running hub, over our OpenAPI document and over JupyterHub's: whatever is asked, no answer is
a fault of the server, and none of ours is outside of its schema."""

import asyncio
import json
import re
from pathlib import Path

import pytest
import pytest_asyncio

from perijove.config.options import RoleOptions, ServiceOptions
from perijove.testing.api import ApiClient
from perijove.testing.inside import hub_inside
from perijove.web.api import ENDPOINTS
from perijove.web.api.openapi.document import document

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROOT = "root-token"
PROGRAM = Path(__file__).parents[2] / "build" / "openapi" / "bin" / "schemathesis"
PUBLISHED = json.loads(Path(__file__).with_name("jupyterhub-openapi.json").read_text(encoding="utf-8"))
# Names that exist, so that not every request ends where its resource is looked up.
THERE = {"enum": ["ann", "ben", "crew", "gpu", "maker", "made", "a1", "a2", "ghost"]}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def inside(tmp_path_factory):
    async with hub_inside(
        tmp_path_factory.mktemp("hub"),
        services=(ServiceOptions(name="root", api_token=ROOT, admin=True), ServiceOptions(name="maker")),
        load_roles=(RoleOptions(name="maker", scopes=("read:hub",)),),
        allow_named_servers=True,
        slow_spawn_timeout_seconds=0.1,
        slow_stop_timeout_seconds=0.1,
    ) as hub:
        yield hub


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def resources(inside):
    async with ApiClient(inside.url, ROOT) as root:
        await root("POST", "/users", {"usernames": ["ann", "ben", "crew", "made"]})
        await root("POST", "/groups/crew", {"users": ["ann"]})
        await root("PUT", "/users/ann/servers/gpu", {})
        await root("POST", "/shares/ann/gpu", {"user": "ben"})
        await root("POST", "/shares/ann/gpu", {"group": "crew"})
        await root("POST", "/share-codes/ann/gpu", {})
        await root("POST", "/roles/made", {"scopes": ["read:hub"]})
        await root("POST", "/services/made", {})
        await root("POST", "/users/ann/tokens")


def with_names(described):
    """Path parameters that are often names of something."""
    for methods in described["paths"].values():
        for operation in methods.values():
            for parameter in operation.get("parameters", ()):
                if parameter.get("in") == "path":
                    # The type is said outside of the choice too: what schemathesis sees to be a string of a path it
                    # makes non-empty. Others it makes, and then throws away when they are empty: with three parameters
                    # nearly every second request, and sometimes so many in a row that it gave up.
                    parameter["schema"] = {"type": "string", "anyOf": [THERE, {"type": "string"}]}
    return described


async def send(inside, directory, described, *options):
    """As many requests as `options` say, not as there is time for: how much is tested is not the machine's to say."""
    path = directory / "openapi.json"
    path.write_text(json.dumps(described), encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        *(str(PROGRAM), "run", str(path), "--url", f"{inside.url}hub/api", "--header", f"Authorization: token {ROOT}"),
        # It would be the last request.
        *("--exclude-path", "/shutdown", "--no-color", "--continue-on-failure", "--warnings", "off", "--seed", "1"),
        *options,
        cwd=directory,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode, output.decode()


async def test_no_answer_is_outside_of_our_document(inside, tmp_path):
    assert PROGRAM.exists(), "make build/openapi/.stamp installs it, as `make test` does"
    described = with_names(json.loads(json.dumps(document(ENDPOINTS, "/"))))
    checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
    code, output = await send(
        inside, tmp_path, described, "--checks", checks, "--phases", "coverage,fuzzing", "--max-examples", "8"
    )
    assert code == 0, output
    sent = re.search(r"(\d+) generated", output)
    assert sent is not None, output
    assert int(sent[1]) > 500


async def test_no_request_of_jupyterhubs_document_is_a_fault(inside, tmp_path):
    described = with_names(
        {
            "openapi": "3.1.0",
            "info": {"title": "JupyterHub", "version": "6"},
            "paths": json.loads(json.dumps(PUBLISHED["paths"])),
            "components": PUBLISHED["components"],
        }
    )
    for methods in described["paths"].values():
        for operation in methods.values():
            operation.pop("security", None)
    code, output = await send(
        inside, tmp_path, described, "--checks", "not_a_server_error", "--phases", "fuzzing", "--max-examples", "3"
    )
    assert code == 0, output
