"""The gate under MLflow's basic auth: both ask, each for its own, and users have names."""

from collections.abc import Iterator

import pytest
from fixtures_mlflow import GatedMlflow, started_mlflow
from mlflow_calls import TEXT, UI, MlflowCalls
from sqlalchemy import select

from registry.schema import prompt_hashes
from registry.tenants import Keys

pytestmark = pytest.mark.contract

ADMIN = ("root", "a long password of the admin")
ADA = ("ada", "a long password of Ada's")
HOOK = {"name": "any", "url": "http://127.0.0.1:9/", "events": [{"entity": "PROMPT_ALIAS", "action": "CREATED"}]}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatedMlflow]:
    """A server with basic auth, its admin, and a user who may edit everything."""
    environment = {"MLFLOW_AUTH_ADMIN_PASSWORD": ADMIN[1], "MLFLOW_FLASK_SERVER_SECRET_KEY": "of this test"}
    home = tmp_path_factory.mktemp("mlflow-auth")
    config = home / "auth.ini"
    config.write_text(
        "[mlflow]\ndefault_permission = MANAGE\ndatabase_uri = sqlite:///auth.db\nadmin_username = root\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    environment["MLFLOW_AUTH_CONFIG_PATH"] = str(config)
    with started_mlflow(home, "--app-name", "basic-auth", environment=environment) as started:
        with MlflowCalls(started.url, user=ADMIN) as admin:
            admin.call("POST", "users/create", username=ADA[0], password=ADA[1]).raise_for_status()
        yield started


@pytest.fixture
def ada(server: GatedMlflow) -> Iterator[MlflowCalls]:
    """Calls of the user, as her browser makes them."""
    with MlflowCalls(server.url, UI, user=ADA) as calls:
        yield calls


def authors(server: GatedMlflow, prompt_name: str) -> dict[int, str | None]:
    """Who counts as the author of each version."""
    with server.database.read() as connection:
        rows = connection.execute(select(prompt_hashes).where(prompt_hashes.c.name == prompt_name)).all()
    return {row.version: row.author for row in rows}


def test_both_ask(server: GatedMlflow, ada: MlflowCalls, prompt_name: str) -> None:
    """Without a user nobody gets to the gate; with every permission the gate still wants its evidence."""
    server.protect(prompt_name, "  - kind: approval")
    server.key("engineer", "ada")
    version = ada.create(prompt_name)
    with MlflowCalls(server.url) as nobody:
        assert nobody.move(prompt_name, version).status_code == 401
    for user in (ADA, ADMIN):
        with MlflowCalls(server.url, user=user) as calls:
            answer = calls.move(prompt_name, version)
        assert (answer.status_code, answer.json()["error_code"]) == (403, "PERMISSION_DENIED")
        assert "0 of 1 approvals by other people than 'ada'" in answer.json()["message"]
    assert ada.alias(prompt_name) is None


def test_a_user_is_the_author_and_the_promoter(server: GatedMlflow, ada: MlflowCalls, prompt_name: str) -> None:
    """Basic auth names who wrote a version and who moved the alias; an engineer's key beside it names them better."""
    server.key("engineer", "ada")
    server.protect(prompt_name)
    assert ada.move(prompt_name, ada.create(prompt_name)).is_success
    with MlflowCalls(server.url, user=ADA, X_Assay_Key=server.key("engineer", "Ada Lovelace")) as named:
        named.create(prompt_name, f"{TEXT} 2")
    with MlflowCalls(server.url, user=ADA, X_Assay_Key=server.key("admin", "assay up")) as bootstrapped:
        bootstrapped.create(prompt_name, f"{TEXT} 3")
    assert authors(server, prompt_name) == {1: "ada", 2: "Ada Lovelace", 3: "ada"}
    assert [record.promoted_by for record in server.records(prompt_name)] == ["ada"]


def test_a_user_whom_no_engineers_key_names_is_no_known_author(server: GatedMlflow, prompt_name: str) -> None:
    """She may have a key under another name, and would approve herself: two others have to approve."""
    keys, name = Keys(server.database), ADMIN[0]
    server.protect(prompt_name, "  - kind: approval")
    server.key("admin", name)
    server.key("engineer", name.title())
    with MlflowCalls(server.url, user=ADMIN) as user:
        first = user.create(prompt_name)
        refusal = user.move(prompt_name, first).json()["message"]
        own = keys.create("engineer", None, name)
        user.create(prompt_name, f"{TEXT} 2")
        keys.revoke(own.id)
        user.create(prompt_name, f"{TEXT} 3")
    assert authors(server, prompt_name) == {1: None, 2: name, 3: None}
    assert "0 of 2 approvals" in refusal


def test_an_admin_of_mlflow_may_change_webhooks(server: GatedMlflow, ada: MlflowCalls) -> None:
    """And nobody else, also with a name."""
    assert ada.call("POST", "webhooks", **HOOK).status_code == 403
    with MlflowCalls(server.url, user=ADMIN) as admin:
        made = admin.call("POST", "webhooks", **HOOK).json()["webhook"]
        assert admin.call("DELETE", f"webhooks/{made['webhook_id']}").is_success
