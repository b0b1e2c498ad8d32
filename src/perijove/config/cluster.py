"""What a hub that runs as a pod knows from where it is, as z2jh's own configuration file tells it.

Set before anything else, so that the configuration may say otherwise. The labels are those that
NetworkPolicies select users' pods by.
"""

from collections.abc import Mapping

from perijove.config.fluent import FluentConfig
from perijove.config.release_names import app_label
from perijove.config.schema.settings import Settings

RELEASE_VARIABLE = "HELM_RELEASE_NAME"
NAMESPACE_VARIABLE = "POD_NAMESPACE"
DEFAULT_RELEASE = "jhub"
HUB_PORT = 8081


def release_of(around: Mapping[str, str]) -> str:
    return around.get(RELEASE_VARIABLE) or DEFAULT_RELEASE


def apply(config: FluentConfig, settings: Settings, names: Mapping[str, str], around: Mapping[str, str]) -> None:
    release, app = release_of(around), app_label(settings)
    # The Service stands for every replica.
    config.JupyterHub.hub_connect_url = f"http://{names['hub']}:{HUB_PORT}"
    config.KubeSpawner.namespace = around.get(NAMESPACE_VARIABLE) or "default"
    config.KubeSpawner.common_labels = {
        "app": app,
        "app.kubernetes.io/name": app,
        "release": release,
        "app.kubernetes.io/instance": release,
        "app.kubernetes.io/managed-by": "kubespawner",
    }
