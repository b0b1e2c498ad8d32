"""Pulling new images to all nodes before anything else is changed: z2jh's `hook-image-puller`.

The rendering also has the Job that waits for the DaemonSet, for `kubectl apply` and Helm. Here we wait ourselves,
which needs no image of its own and can say on which node what is missing.
"""

from collections.abc import Sequence

from perijove.deploy import names
from perijove.deploy.apply import Applier
from perijove.deploy.errors import DeployFailed
from perijove.deploy.waiting import Waiting
from perijove.deploy.wishes import Wishes
from perijove.kube.errors import KubeError
from perijove.kube.refs import Object, Ref


async def pull(applier: Applier, wishes: Wishes, before: Sequence[Object], manifests: Sequence[Object]) -> None:
    """Raises `RolloutFailed`, with nothing changed but for the puller itself, which is gone again."""
    sets = [one for one in before if one["kind"] == "DaemonSet"]
    if not sets:
        return
    pullers = [*_accounts(sets, before), *sets]
    refs = [Ref.of(one) for one in pullers]
    # One that was interrupted: its images may be others.
    await applier.delete(refs, quietly=True)
    for secret in _pull_secrets(sets, manifests):
        await _apply(applier, secret)
    try:
        for one in pullers:
            await _apply(applier, one)
        if wishes.wait:
            waiting = Waiting(
                client=applier.client, namespace=wishes.namespace, report=applier.report, deadline=wishes.deadline
            )
            await waiting.until_up([Ref.of(one) for one in sets])
    finally:
        await applier.delete(refs, quietly=True)


async def _apply(applier: Applier, manifest: Object) -> None:
    applier.lock.check()
    try:
        await applier.client.apply(manifest, manager=names.MANAGER, force=True)
    except KubeError as exc:
        raise DeployFailed(f"{Ref.of(manifest)} cannot be applied: {exc}", remedy=exc.remedy) from exc


def _accounts(sets: Sequence[Object], among: Sequence[Object]) -> list[Object]:
    used = {one["spec"]["template"]["spec"].get("serviceAccountName") for one in sets}
    return [one for one in among if one["kind"] == "ServiceAccount" and one["metadata"]["name"] in used]


def _pull_secrets(sets: Sequence[Object], among: Sequence[Object]) -> list[Object]:
    """Those that are made by this very deploy: without them a first installation could pull nothing."""
    used = {secret["name"] for one in sets for secret in one["spec"]["template"]["spec"].get("imagePullSecrets") or ()}
    return [one for one in among if one["kind"] == "Secret" and one["metadata"]["name"] in used]
