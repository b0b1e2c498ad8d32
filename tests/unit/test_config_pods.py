"""`singleuser.*` reaches stock KubeSpawner as z2jh hands it over: seen in the pods it makes."""

import textwrap
from types import SimpleNamespace
from typing import Any

import kubespawner.spawner
import pytest
from jupyterhub.objects import Hub
from jupyterhub.orm import Spawner as SpawnerRow
from kubernetes_asyncio.client import ApiClient
from kubespawner import KubeSpawner

from perijove.config import NoteKind, compile_config, load

ROUTINE = """
singleuser:
  image: {name: a/b, tag: "1", pullSecrets: [own]}
  memory: {limit: 2G, guarantee: 1G}
  extraResource: {limits: {nvidia.com/gpu: 1}, guarantees: {nvidia.com/gpu: 1}}
  storage:
    extraVolumes: [{name: shm, emptyDir: {medium: Memory}}]
    extraVolumeMounts: [{name: shm, mountPath: /dev/shm}]
  lifecycleHooks:
    postStart: {exec: {command: [gitpuller, "https://example.org/x", main, x]}}
  initContainers: [{name: prepare, image: busybox}]
  extraFiles: {motd: {mountPath: /etc/motd, stringData: hi, mode: 0644}}
  networkTools: {image: {name: net, tag: "2"}, resources: {limits: {cpu: 10m}}}
  extraLabels: {team: red}
  extraPodConfig: {dnsPolicy: Default}
imagePullSecrets: [shared]
imagePullSecret: {create: true, registry: r, username: u, password: p}
scheduling:
  podPriority: {enabled: true}
  userPods: {nodeAffinity: {matchNodePurpose: require}}
"""


@pytest.fixture
def compiled(tmp_path):
    def run(text: str, **options):
        file = tmp_path / "config.yaml"
        file.write_text(textwrap.dedent(text))
        environment = {"POD_NAMESPACE": "lab", "HELM_RELEASE_NAME": "prod"}
        return compile_config(
            load([file]), data_dir=tmp_path / "data", environment=environment, target="kubernetes", **options
        )

    return run


@pytest.fixture
def spawner(compiled, monkeypatch):
    """A stock spawner as configured, without a cluster."""
    monkeypatch.setattr(kubespawner.spawner, "load_config", lambda **_: None)
    monkeypatch.setattr(kubespawner.spawner, "shared_client", lambda _: None)

    def make(text: str, name: str = "miksch@tu.edu", **options) -> KubeSpawner:
        user = SimpleNamespace(name=name, id=1, url="/user/x/", escaped_name="x", groups=[])
        row = SpawnerRow(name="")
        return KubeSpawner(_mock=True, config=compiled(text).traits, user=user, hub=Hub(), orm_spawner=row, **options)

    return make


async def pod(spawner: KubeSpawner) -> dict[str, Any]:
    """As the API would get it."""
    spawner.get_env = dict
    spawner.get_args = list
    async with ApiClient() as api:
        return api.sanitize_for_serialization(await spawner.get_pod_manifest())


async def test_a_pod_has_everything_the_file_asks_for(spawner):
    made = await pod(spawner(ROUTINE))
    spec, labels = made["spec"], made["metadata"]["labels"]
    (container,) = spec["containers"]
    assert (labels["release"], labels["team"], labels["component"]) == ("prod", "red", "singleuser-server")
    assert container["image"] == "a/b:1"
    assert container["resources"]["limits"] == {"memory": 2 * 1024**3, "nvidia.com/gpu": 1}
    assert container["lifecycle"]["postStart"]["exec"]["command"][0] == "gitpuller"
    assert spec["imagePullSecrets"] == [{"name": "image-pull-secret"}, {"name": "shared"}, {"name": "own"}]
    assert spec["priorityClassName"] == "prod-default-priority"
    assert spec["schedulerName"] == "prod-user-scheduler"
    assert spec["dnsPolicy"] == "Default"
    required = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert required["nodeSelectorTerms"][0]["matchExpressions"][0]["values"] == ["user"]


async def test_volumes_are_the_home_what_was_added_and_the_files(spawner):
    spec = (await pod(spawner(ROUTINE, name="ada")))["spec"]
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    assert set(volumes) == {"volume-ada", "shm", "files"}
    assert volumes["shm"]["emptyDir"] == {"medium": "Memory"}
    assert volumes["files"]["secret"]["items"] == [{"key": "motd", "path": "motd", "mode": 0o644}]
    mounts = {mount["mountPath"]: mount for mount in spec["containers"][0]["volumeMounts"]}
    assert set(mounts) == {"/home/jovyan", "/dev/shm", "/etc/motd"}
    assert mounts["/etc/motd"]["subPath"] == "motd"


async def test_the_metadata_server_is_blocked_but_not_dns_at_its_address(spawner):
    prepare, block = (await pod(spawner(ROUTINE)))["spec"]["initContainers"]
    assert (prepare["name"], block["name"], block["image"]) == ("prepare", "block-cloud-metadata", "net:2")
    assert "--protocol tcp --destination 169.254.169.254 --destination-port 80" in " ".join(block["command"])
    assert block["resources"] == {"limits": {"cpu": "10m"}}


async def test_a_claim_keeps_the_name_it_was_made_with(spawner):
    server = spawner("singleuser: {storage: {dynamic: {pvcNameTemplate: 'home-{username}'}}}")
    assert server.pvc_name.startswith("home-miksch-tu-edu")
    server.pvc_name = "claim-miksch-40tu-2eedu"
    (volume,) = (await pod(server))["spec"]["volumes"]
    assert volume["persistentVolumeClaim"] == {"claimName": "claim-miksch-40tu-2eedu"}


async def test_without_storage_there_is_no_volume(spawner):
    assert not (await pod(spawner("singleuser: {storage: {type: none}}")))["spec"]["volumes"]


@pytest.mark.parametrize(
    ("storage", "claim", "mount"),
    [
        ("{type: static, static: {pvcName: shared, subPath: 'homes/{username}'}}", "shared", "homes/ada"),
        ("{type: dynamic, dynamic: {subPath: 'in/{username}'}}", "claim-ada", "in/ada"),
    ],
)
async def test_each_type_of_storage_is_mounted_as_it_says(spawner, storage, claim, mount):
    spec = (await pod(spawner(f"singleuser: {{storage: {storage}}}", name="ada")))["spec"]
    assert spec["volumes"][0]["persistentVolumeClaim"]["claimName"] == claim
    assert spec["containers"][0]["volumeMounts"][0]["subPath"] == mount


# -- profiles ------------------------------------------------------------------------------------

PROFILES = """
singleuser:
  memory: {limit: 1G}
  extraEnv: {A: x, B: y}
  profileList:
    - display_name: Bare
      slug: bare
      kubespawner_override:
        mem_limit: null
        environment: null
        imagee: a/b
        no_such_map: {a: b}
        extra_resource_limits: {nvidia.com/gpu: 2}
      profile_options:
        image:
          display_name: Image
          choices:
            one:
              display_name: One
              default: true
              kubespawner_override: {image: "c/d:2", start_timeout: null, environment: {B: null, C: z}}
          unlisted_choice:
            enabled: true
            kubespawner_override: {image: "{value}"}
    - display_name: Nothing
      kubespawner_override:
"""


async def test_a_profile_with_nulls_and_unknown_keys_starts(spawner):
    server = spawner(PROFILES, user_options={"profile": "bare"})
    await server.load_user_options()
    assert server.mem_limit is None
    assert server.image == "c/d:2"
    assert server.extra_resource_limits == {"nvidia.com/gpu": 2}
    assert server.environment["A"] == "x"
    assert server.environment["C"] == "z"
    await pod(server)


def test_what_a_profile_cannot_set_is_named_with_its_line(compiled):
    found = {note.path[-1]: note for note in compiled(PROFILES).notes if note.kind is NoteKind.UNUSED}
    assert set(found) == {"environment", "imagee", "no_such_map", "start_timeout"}
    assert found["imagee"].position.line == 11
    assert "did you mean `image`" in found["imagee"].message


def test_a_check_refuses_a_value_of_the_wrong_kind_in_a_profile(compiled):
    text = "singleuser:\n  profileList:\n  - display_name: A\n    kubespawner_override:\n      uid: lots\n"
    (problem,) = compiled(text, trial=True).problems
    assert problem.position.line == 5
