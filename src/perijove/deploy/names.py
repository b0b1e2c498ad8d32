"""What deploying itself leaves in a namespace, and the words that mark it."""

from typing import Final

# The field manager of server-side apply. It can never change: what it applied it may also take away.
MANAGER: Final = "perijove"

RELEASE_LABEL: Final = "perijove.io/release"
PART_LABEL: Final = "perijove.io/part"
REVISION_LABEL: Final = "perijove.io/revision"
INVENTORY: Final = "inventory"
REVISION: Final = "revision"
# What our chart itself consists of, besides what its controller deploys.
CHART: Final = "chart"
# On what belongs to the whole cluster: the namespace of the release that it is for.
NAMESPACE: Final = "perijove.io/namespace"
# "true" on any object: it is left alone when the configuration no longer asks for it.
KEEP: Final = "perijove.io/keep"

HELM_RELEASE: Final = "meta.helm.sh/release-name"
HELM_NAMESPACE: Final = "meta.helm.sh/release-namespace"
HELM_KEEP: Final = "helm.sh/resource-policy"


def bookkeeping(release: str) -> str:
    """The ConfigMap that lists what is deployed, and the Lease that one deploy holds at a time."""
    return f"perijove-{release}"


def labels(release: str, part: str) -> dict[str, str]:
    return {"app.kubernetes.io/managed-by": MANAGER, RELEASE_LABEL: release, PART_LABEL: part}
