"""Before the chart goes: everything that its controller deployed, but for what holds somebody's work.

Run by the chart's hook. Not by ownerReferences: the objects that belong to the whole cluster can have no owner in a
namespace, and one `Hub` deleted by mistake would take a running hub with it.
"""

from perijove.controller.hub import hub_ref
from perijove.deploy.errors import NothingDeployed
from perijove.deploy.report import Report
from perijove.deploy.uninstall import Leaving, Removal, Uninstall
from perijove.deploy.wishes import Wishes
from perijove.kube.client import Client
from perijove.kube.errors import KindUnknown


async def leave(client: Client, namespace: str, release: str, report: Report) -> None:
    """May be repeated. Raises `DeployFailed` and `KubeError`."""
    try:
        # First: a controller without its object stands still, and gives the lock away.
        await client.delete(hub_ref(namespace, release))
    except KindUnknown:
        report.note("the cluster knows no Hub")
    wishes = Wishes(namespace=namespace, release=release, deployer="controller", by="controller")

    async def yes(leaving: Leaving) -> bool:
        for ref in leaving.keep:
            report.note(f"{ref} stays")
        return True

    try:
        await Uninstall(client=client, wishes=wishes, report=report).run(Removal(), yes)
    except NothingDeployed as exc:
        report.note(str(exc))
