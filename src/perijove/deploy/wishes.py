"""What is asked of a deploy, on the command line or by the chart's values."""

from dataclasses import dataclass, field

from perijove.deploy.inventory import Deployer
from perijove.deploy.plan import Rights
from perijove.deploy.waiting import Deadline


@dataclass(frozen=True, kw_only=True)
class Wishes:
    namespace: str
    release: str | None = None
    # Instead of the image that was released with this code.
    image: str = ""
    create_namespace: bool = False
    rights: Rights = field(default_factory=Rights)
    # Delete what Helm made and this rendering has no use for.
    remove_obsolete: bool = False
    wait: bool = True
    # Go back when it does not come up.
    go_back: bool = True
    deadline: Deadline = field(default_factory=Deadline)
    deployer: Deployer = "person"
    by: str = ""
