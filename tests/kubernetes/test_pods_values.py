"""`singleuser.*` of a config.yaml, seen in the pods that the API server keeps, and value for value in the traits."""

import json
import textwrap
from functools import reduce

import pytest

from perijove.config import compile_config, load
from perijove.domain.errors import SpawnFailed
from perijove.testing.kube.spawning import open_spawner_half

# Each trait that z2jh sets straight from one key, and a value for it.
MAPPED = {
    "pod_name_template": ("podNameTemplate", "lab-{username}"),
    "start_timeout": ("startTimeout", 77),
    "image_pull_policy": ("image.pullPolicy", "Always"),
    "events_enabled": ("events", False),
    "extra_labels": ("extraLabels", {"team": "red"}),
    "extra_annotations": ("extraAnnotations", {"note": "x"}),
    "allow_privilege_escalation": ("allowPrivilegeEscalation", True),
    "uid": ("uid", 1234),
    "fs_gid": ("fsGid", 4321),
    "service_account": ("serviceAccountName", "runner"),
    "storage_extra_labels": ("storage.extraLabels", {"keep": "safe"}),
    "storage_capacity": ("storage.capacity", "3Gi"),
    "storage_class": ("storage.dynamic.storageClass", "fast"),
    "storage_access_modes": ("storage.dynamic.storageAccessModes", ["ReadWriteMany"]),
    "pvc_name_template": ("storage.dynamic.pvcNameTemplate", "home-{username}"),
    "tolerations": ("extraTolerations", [{"key": "gpu", "operator": "Exists"}]),
    "node_selector": ("nodeSelector", {"pool": "users"}),
    "node_affinity_required": ("extraNodeAffinity.required", [{"matchExpressions": []}]),
    "node_affinity_preferred": ("extraNodeAffinity.preferred", [{"weight": 1, "preference": {}}]),
    "pod_affinity_required": ("extraPodAffinity.required", [{"topologyKey": "a"}]),
    "pod_affinity_preferred": ("extraPodAffinity.preferred", [{"weight": 2, "podAffinityTerm": {"topologyKey": "a"}}]),
    "pod_anti_affinity_required": ("extraPodAntiAffinity.required", [{"topologyKey": "b"}]),
    "pod_anti_affinity_preferred": (
        "extraPodAntiAffinity.preferred",
        [{"weight": 3, "podAffinityTerm": {"topologyKey": "b"}}],
    ),
    "lifecycle_hooks": ("lifecycleHooks", {"postStart": {"exec": {"command": ["true"]}}}),
    "init_containers": ("initContainers", [{"name": "i", "image": "busybox"}]),
    "extra_containers": ("extraContainers", [{"name": "e", "image": "busybox"}]),
    "mem_limit": ("memory.limit", "2G"),
    "mem_guarantee": ("memory.guarantee", "512M"),
    "cpu_limit": ("cpu.limit", 1.5),
    "cpu_guarantee": ("cpu.guarantee", 0.5),
    "extra_resource_limits": ("extraResource.limits", {"nvidia.com/gpu": 1}),
    "extra_resource_guarantees": ("extraResource.guarantees", {"nvidia.com/gpu": 1}),
    "environment": ("extraEnv", {"A": "1"}),
    "profile_list": ("profileList", [{"display_name": "Only", "slug": "only", "default": True}]),
    "extra_pod_config": ("extraPodConfig", {"dnsPolicy": "Default"}),
    "image_pull_secrets": ("image.pullSecrets", [{"name": "own"}]),
}
# What stands beside a key's own value, because of the defaults of other keys.
PLAIN = {
    "scheduling": {"userPods": {"nodeAffinity": {"matchNodePurpose": "ignore"}, "tolerations": []}},
    "singleuser": {"cloudMetadata": {"blockWithIptables": False}},
}


@pytest.fixture
def compiled(tmp_path, cluster):
    def run(*texts):
        files = []
        for number, text in enumerate(texts):
            file = tmp_path / f"config-{number}.yaml"
            file.write_text(textwrap.dedent(text))
            files.append(file)
        environment = {"POD_NAMESPACE": cluster.namespace, "HELM_RELEASE_NAME": "prod"}
        return compile_config(load(files), data_dir=tmp_path / "data", environment=environment, target="kubernetes")

    return run


@pytest.fixture
async def start(cluster, compiled, tmp_path, monkeypatch):
    """Starts what a configuration says; returns the pod that the API server then has."""
    async with open_spawner_half(cluster, tmp_path, monkeypatch) as half:

        async def made(text, *, form=None, **spec):
            found = compiled(FAST, text)
            half.config = found.traits
            cls = found.options.spawner_class
            if form is not None:
                plain = await half.open(cls=cls)
                spec["user_options"] = await half.host(cls).options_from_form(plain.spec, form)
            return await half.made(await half.open(cls=cls, **spec))

        yield made


FAST = """
singleuser:
  image: {name: busybox, tag: "1.36"}
  cmd: [sleep, "600"]
  cloudMetadata: {blockWithIptables: false}
  storage: {type: none}
"""


def nested(path, value):
    return reduce(lambda inner, key: {key: inner}, reversed(path.split(".")), value)


def test_every_value_goes_to_the_trait_that_z2jh_sets_from_it(compiled):
    # JSON is YAML.
    values = ({"singleuser": nested(key, value)} for key, value in MAPPED.values())
    texts = [json.dumps(document) for document in (PLAIN, *values)]
    traits = compiled(*texts).traits
    set_to = {name: traits.KubeSpawner[name] for name in MAPPED}
    # Under both classes' names, so that code may add to either.
    set_to["environment"] = traits.Spawner.environment
    # Added to by default, as the chart's values are.
    assert set_to["extra_labels"].pop("hub.jupyter.org/network-access-hub") == "true"
    assert set_to == {name: value for name, (_, value) in MAPPED.items()}


async def test_a_pod_has_resources_volumes_and_containers_as_the_file_says(start, cluster):
    secret = {"metadata": {"name": "singleuser"}, "stringData": {"motd": "hi"}}
    await cluster.core.create_namespaced_secret(cluster.namespace, secret)
    await cluster.core.create_namespaced_service_account(cluster.namespace, {"metadata": {"name": "runner"}})
    pod = await start("""
    singleuser:
      memory: {limit: 1.5G, guarantee: 64M}
      cpu: {limit: 2, guarantee: 0.1}
      extraResource: {limits: {example.org/none: 0}}
      extraEnv:
        PLAIN: "1"
        POD: {valueFrom: {fieldRef: {fieldPath: metadata.name}}}
      serviceAccountName: runner
      extraLabels: {team: red}
      extraFiles: {motd: {mountPath: /etc/motd, stringData: hi, mode: 0644}}
      lifecycleHooks:
        postStart: {exec: {command: [sh, -c, "echo pulled"]}}
      initContainers: [{name: prepare, image: busybox, command: ["true"]}]
      extraContainers: [{name: beside, image: busybox, command: [sleep, "600"]}]
      storage:
        type: dynamic
        capacity: 1Mi
        extraVolumes:
          shm: {name: shm, emptyDir: {medium: Memory, sizeLimit: 64Mi}}
        extraVolumeMounts:
          - {name: shm, mountPath: /dev/shm}
    """)
    [notebook, beside] = pod["spec"]["containers"]
    assert notebook["resources"] == {
        "limits": {"cpu": "2", "memory": "1610612736", "example.org/none": "0"},
        "requests": {"cpu": "100m", "memory": "67108864", "example.org/none": "0"},
    }
    env = {one["name"]: one for one in notebook["env"]}
    assert env["PLAIN"]["value"] == "1"
    assert env["POD"]["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.name"
    mounts = {mount["mountPath"]: mount["name"] for mount in notebook["volumeMounts"]}
    assert {"/home/jovyan": "volume-ann", "/dev/shm": "shm", "/etc/motd": "files"}.items() <= mounts.items()
    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    assert volumes["shm"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "64Mi"}
    assert volumes["volume-ann"]["persistentVolumeClaim"]["claimName"] == "claim-ann"
    assert beside["name"] == "beside"
    assert [one["name"] for one in pod["spec"]["initContainers"]] == ["prepare"]
    assert notebook["lifecycle"]["postStart"]["exec"]["command"] == ["sh", "-c", "echo pulled"]
    assert pod["spec"]["serviceAccountName"] == "runner"
    labels = {"team": "red", "app": "jupyterhub", "release": "prod", "component": "singleuser-server"}
    assert labels.items() <= pod["metadata"]["labels"].items()


async def test_the_metadata_server_is_blocked_before_anything_of_the_user_runs(start, cluster):
    """The container would change this machine's own rules: its pod is looked at, and its image never comes."""
    cluster.fake.kubelet.images.missing.add("*network-tools*")
    with pytest.raises(SpawnFailed, match="network-tools"):
        await start("singleuser: {cloudMetadata: {blockWithIptables: true}, startTimeout: 20}")
    log = cluster.fake.server.log.find(verb="create", resource="pods")
    assert [entry.status for entry in log] == [201]
    pod = await cluster.core.read_namespaced_pod("jupyter-ann", cluster.namespace)
    [block] = pod.spec.init_containers
    assert block.security_context.privileged
    assert block.command[-5:] == ["169.254.169.254", "--destination-port", "80", "--jump", "DROP"]


STATIC = "singleuser: {storage: {type: static, static: {pvcName: shared, subPath: 'homes/{username}'}}}"


async def test_static_storage_is_one_claim_with_a_path_for_each_user(start, cluster):
    claim = {"metadata": {"name": "shared"}, "spec": {"accessModes": ["ReadWriteMany"]}}
    claim["spec"]["resources"] = {"requests": {"storage": "1Mi"}}
    await cluster.core.create_namespaced_persistent_volume_claim(cluster.namespace, claim)
    pod = await start(STATIC)
    [mount] = [one for one in pod["spec"]["containers"][0]["volumeMounts"] if one["name"] == "home"]
    assert (mount["mountPath"], mount["subPath"]) == ("/home/jovyan", "homes/ann")


PROFILES = """
singleuser:
  extraEnv: {A: x}
  profileList:
    - display_name: CPU
      slug: cpu
      default: true
    - display_name: GPU
      slug: gpu
      kubespawner_override:
        mem_limit: null
        no_such_trait: 7
        extra_resource_limits: {example.org/gpu: 0}
        environment: {B: "y"}
      profile_options:
        size:
          display_name: Size
          choices:
            s: {display_name: Small, kubespawner_override: {cpu_guarantee: 0.1}}
            l: {display_name: Large, kubespawner_override: {cpu_guarantee: 0.3, extra_labels: {size: l}}}
        image:
          display_name: Image
          choices: {a: {display_name: A, kubespawner_override: {image: "busybox:1"}}}
          unlisted_choice:
            enabled: true
            display_name: Other
            validation_regex: "^busybox:.+$"
            kubespawner_override: {image: "{value}"}
"""


async def test_what_is_chosen_on_the_spawn_page_is_in_the_pod(start):
    form = {
        "profile": ["gpu"],
        "profile-option-gpu--size": ["l"],
        "profile-option-gpu--image": ["unlisted-choice"],
        "profile-option-gpu--image--unlisted-choice": ["busybox:9"],
    }
    pod = await start(PROFILES, form=form)
    [notebook] = pod["spec"]["containers"]
    assert notebook["image"] == "busybox:9"
    assert pod["metadata"]["labels"]["size"] == "l"
    assert notebook["resources"]["requests"]["cpu"] == "300m"
    assert notebook["resources"]["limits"] == {"example.org/gpu": "0"}
    env = {one["name"]: one.get("value") for one in notebook["env"]}
    assert {"A": "x", "B": "y"}.items() <= env.items()


async def test_a_choice_that_is_none_is_told_to_who_chose(start):
    with pytest.raises(SpawnFailed, match=r"No such profile: nosuch\. Options include: cpu, gpu") as caught:
        await start(PROFILES, user_options={"profile": "nosuch"})
    assert caught.value.status == 400


CODE = """
custom: {team: blue}
hub:
  extraConfig:
    10-class: |
      import z2jh
      from kubespawner import KubeSpawner

      class Ours(KubeSpawner):
          def get_env(self):
              team, tag = z2jh.get_config("custom.team"), z2jh.get_config("singleuser.image.tag")
              return super().get_env() | {"TEAM": team, "TAG": tag}

      def modify(spawner, pod):
          pod.metadata.annotations["modified-for"] = spawner.user.name
          pod.spec.priority_class_name = None
          return pod

      c.JupyterHub.spawner_class = Ours
      c.KubeSpawner.modify_pod_hook = modify
      c.KubeSpawner.environment.update({"LATE": "1"})
"""


async def test_code_of_the_configuration_shapes_the_pod(start):
    pod = await start(CODE)
    env = {one["name"]: one.get("value") for one in pod["spec"]["containers"][0]["env"]}
    assert {"TEAM": "blue", "TAG": "1.36", "LATE": "1"}.items() <= env.items()
    assert pod["metadata"]["annotations"]["modified-for"] == "ann"
    assert pod["metadata"]["labels"]["perijove.io/server"] == "21"
