"""The examples of the documents that Perijove answers to run as they are written there."""

import sys
import types

import pytest

from perijove.config import compile_config, load


@pytest.fixture(autouse=True)
def _import_path(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.fixture
def compiled(tmp_path):
    def run(text: str):
        file = tmp_path / "config.yaml"
        file.write_text(text)
        return compile_config(load([file]), data_dir=tmp_path / "data", environment={})

    return run


def test_the_example_of_one_string_runs_as_written(compiled):
    result = compiled("""
hub:
  extraConfig: |
    import time
    c.Spawner.environment += {
       "CURRENT_TIME": str(time.time())
    }
""")
    assert float(result.traits.Spawner.environment["CURRENT_TIME"]) > 0


def test_the_example_of_two_pieces_runs_as_written(compiled):
    compiled("""
hub:
  extraConfig:
   00-first-config: |
     # some code
   10-second-config: |
     # some other code
""")


def test_the_example_of_a_config_map_runs_as_written(compiled):
    result = compiled("""
hub:
  extraConfigMap:
    myString: Hello!
    myList:
      - Item1
      - Item2
    myDict:
      key: value
    myLongString: |
      Line1
      Line2
  extraConfig: |
    import z2jh
    c.JupyterHub.template_vars = {
        "1": z2jh.get_config('custom.myString'),
        "2": z2jh.get_config('custom.myList'),
        "3": z2jh.get_config('custom.myDict'),
        "4": z2jh.get_config('custom.myLongString'),
        "5": z2jh.get_config('custom.nonExistent'),
        "6": z2jh.get_config('custom.myDefault', True),
    }
""")
    assert result.options.template_vars == {
        "1": "Hello!",
        "2": ["Item1", "Item2"],
        "3": {"key": "value"},
        "4": "Line1\nLine2\n",
        "5": None,
        "6": True,
    }


def test_the_example_with_azure_runs_as_written(compiled):
    result = compiled("""
auth:
  type: azuread
  azuread:
    clientId: "CLIENT_ID_HERE"
    clientSecret: "CLIENT_SECRET_HERE"
    tenantId: "TENANT_ID_HERE"
    callbackUrl: "https://cfbjupyter.northeurope.cloudapp.azure.com/hub/oauth_callback"
hub:
  extraConfig:
    00-azuread: |
      c.AzureAdOAuthenticator.username_claim = "upn"
userPods:
  nodeAffinity:
    matchNodePurpose: prefer
singleuser:
  image:
    name: "cfbregistry.azurecr.io/jupyterhub"
    tag: "636f5aa"
  imagePullSecret:
    enabled: true
    registry: "cfbregistry.azurecr.io"
    username: "cfbregistry"
    password: ...
""")
    assert result.options.authenticator_class == "azuread"
    assert result.traits.AzureAdOAuthenticator.username_claim == "upn"
    assert result.traits.AzureAdOAuthenticator.tenant_id == "TENANT_ID_HERE"
    assert result.traits.Authenticator.allow_all is True


def test_the_example_with_shibboleth_runs_as_written(compiled):
    result = compiled("""
hub:
  image:
    name: gesiscss/k8s-hub
    tag: 0.8.2-v1.5.0
  extraConfig: |
    c.Authenticator.shibboleth_logout_url = 'your Shibboleht logout url'
auth:
  type: custom
  custom:
    className: "jhub_shibboleth_auth.shibboleth_auth.ShibbolethAuthenticator"
  state:
    enabled: true
""")
    assert result.options.authenticator_class.endswith("ShibbolethAuthenticator")
    assert result.traits.Authenticator.enable_auth_state is True


def test_the_example_with_the_outpost_runs_up_to_the_package_it_needs(compiled, monkeypatch):
    """Everything but the import of outpostspawner, which stands in here as a module of that name."""
    module = types.ModuleType("outpostspawner")
    module.OutpostSpawner = type("OutpostSpawner", (), {})
    monkeypatch.setitem(sys.modules, "outpostspawner", module)
    result = compiled("""
hub:
  args:
  - pip install jupyterhub-outpostspawner; jupyterhub --config /usr/local/etc/jupyterhub/jupyterhub_config.py
  command:
  - sh
  - -c
  - --
  config:
    JupyterHub:
      allow_named_servers: true
      default_url: /hub/home
  extraVolumes:
  - name: jupyterhubOutpostSSHKey
    secret:
      secretName: jupyterhub-outpost-sshkey
  extraEnv:
  - name: AUTH_OUTPOST_LOCAL
    valueFrom:
      secretKeyRef:
        name: jupyterhub-outpost-auth
        key: AUTH_OUTPOST_LOCAL
  extraConfig:
    customConfig: |-
      import outpostspawner
      c.JupyterHub.spawner_class = outpostspawner.OutpostSpawner
      async def request_headers(spawner):
        system = spawner.user_options.get("system", "None")
        auth = os.environ.get(f"AUTH_OUTPOST_{system.upper()}")
        return {"Authorization": f"Basic {auth}"}
      c.OutpostSpawner.request_headers = request_headers
      c.OutpostSpawner.ssh_key = "/mnt/ssh_keys/ssh-privatekey"
""")
    assert result.options.spawner_class is module.OutpostSpawner
    assert (result.options.allow_named_servers, result.options.default_url) == (True, "/hub/home")
    assert callable(result.traits.OutpostSpawner.request_headers)


@pytest.mark.parametrize(
    "text",
    [
        """
ingress:
    enabled: true
    hosts:
     - <hostname>
    annotations:
      kubernetes.io/tls-acme: "true"
    tls:
     - hosts:
        - <hostname>
       secretName: kubelego-tls-jupyterhub
""",
        """
proxy:
  https:
    enabled: true
    hosts:
      - <your-domain-name>
    type: secret
    secret:
      name: example-tls
""",
        """
proxy:
  https:
    hosts:
      - cfbjupyter.northeurope.cloudapp.azure.com
    letsencrypt:
      contactEmail: YOUR_EMAIL_HERE
""",
        """
singleuser:
  memory:
    limit: 1G
    guarantee: 1G
  cpu:
    limit: .5
    guarantee: .5
  storage:
    capacity: 2Gi
    dynamic:
      storageClass: <storageclass-name>
""",
    ],
)
def test_an_example_for_kubernetes_is_accepted_on_one_machine(compiled, text):
    assert compiled(text).notes or "memory" in text


def test_the_example_with_profiles_offers_them_on_one_machine_too(compiled):
    result = compiled("""
singleuser:
  # Defines the default image
  image:
    name: jupyter/minimal-notebook
    tag: 2343e33dec46
  profileList:
    - display_name: "Minimal environment"
      description: "To avoid too much bells and whistles: Python."
      default: true
    - display_name: "Learning Data Science"
      description: "Datascience Environment with Sample Notebooks"
      kubespawner_override:
        image: jupyter/datascience-notebook:2343e33dec46
        lifecycle_hooks:
          postStart:
            exec:
              command:
                - "sh"
                - "-c"
                - >
                  gitpuller https://github.com/data-8/materials-fa17 master materials-fa;
""")
    assert [profile["display_name"] for profile in result.traits.LocalSpawner.profile_list] == [
        "Minimal environment",
        "Learning Data Science",
    ]
