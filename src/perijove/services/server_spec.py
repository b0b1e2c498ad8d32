"""A server as plug-ins may see it: its row with what is known of its owner."""

from perijove.domain.ports import ServerSpec, UserFacts
from perijove.services.server_rows import ServerRow


def spec_of(row: ServerRow, user: UserFacts, *, api_token: str = "", lease_epoch: int = 0) -> ServerSpec:
    return ServerSpec(
        id=row.id,
        user=user,
        name=row.name,
        display_name=row.display_name,
        generation=row.generation,
        lease_epoch=lease_epoch,
        user_options=row.user_options,
        state=row.state,
        url=row.url,
        started=row.started,
        last_activity=row.last_activity,
        api_token=api_token,
        oauth_client_id=row.oauth_client_id or "",
    )
