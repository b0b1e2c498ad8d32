"""The built-in scopes: what each allows, and which others it contains."""

from typing import NamedTuple


class Definition(NamedTuple):
    description: str
    children: tuple[str, ...] = ()


# Expanded by owner, not by containment.
META = {
    "self": Definition("Everything you may do with your own resources"),
    "inherit": Definition("Everything the owner of the token may do"),
    "(no_scope)": Definition("Identify the owner of the token"),
}

# What `self` stands for, each with `!user=<owner>`.
SELF = ("read:users", "users:shares", "read:shares", "users:activity", "servers", "tokens", "access:servers")

# Beyond JupyterHub's; the role `admin` has them.
ADDED = ("admin:roles", "read:audit")

SCOPES: dict[str, Definition] = {
    "admin-ui": Definition("Open the admin page"),
    "admin:users": Definition(
        "Create users, change them and see their authentication state",
        ("admin:auth_state", "users", "read:roles:users", "delete:users"),
    ),
    "admin:auth_state": Definition("Read and change a user's authentication state"),
    "users": Definition("Read and change users", ("read:users", "list:users", "users:activity")),
    "delete:users": Definition("Delete users"),
    "list:users": Definition("List users", ("read:users:name",)),
    "read:users": Definition("Read users", ("read:users:name", "read:users:groups", "read:users:activity")),
    "read:users:name": Definition("Read names of users"),
    "read:users:groups": Definition("Read which groups users are in"),
    "read:users:activity": Definition("Read when users were last active"),
    "users:activity": Definition("Report when users were last active", ("read:users:activity",)),
    "admin:roles": Definition("Create, change, delete and assign roles, within what one holds", ("read:roles",)),
    "read:roles": Definition("Read role assignments", ("read:roles:users", "read:roles:services", "read:roles:groups")),
    "read:roles:users": Definition("Read which roles users have"),
    "read:roles:services": Definition("Read which roles services have"),
    "read:roles:groups": Definition("Read which roles groups have"),
    "admin:servers": Definition(
        "Everything with servers, their internal state included", ("admin:server_state", "servers")
    ),
    "admin:server_state": Definition("Read and change the internal state of servers"),
    "servers": Definition("Start, stop and read servers", ("read:servers", "start:servers", "delete:servers")),
    "read:servers": Definition("Read servers", ("read:users:name",)),
    "start:servers": Definition("Start servers"),
    "delete:servers": Definition("Stop and delete servers"),
    "tokens": Definition("Create, read and revoke tokens", ("read:tokens",)),
    "read:tokens": Definition("Read tokens (not their values)"),
    "admin:groups": Definition("Create, change and delete groups", ("groups", "read:roles:groups", "delete:groups")),
    "groups": Definition("Read groups and change their members", ("read:groups", "list:groups")),
    "list:groups": Definition("List groups", ("read:groups:name",)),
    "read:groups": Definition("Read groups", ("read:groups:name",)),
    "read:groups:name": Definition("Read names of groups"),
    "delete:groups": Definition("Delete groups"),
    "admin:services": Definition(
        "Create, change and delete services", ("list:services", "read:services", "read:roles:services")
    ),
    "list:services": Definition("List services", ("read:services:name",)),
    "read:services": Definition("Read services", ("read:services:name",)),
    "read:services:name": Definition("Read names of services"),
    "read:hub": Definition("Read details of the hub"),
    "access:servers": Definition("Use servers through the browser or their API"),
    "access:services": Definition("Use services through the browser or their API"),
    "shares": Definition(
        "Share servers, and use shared ones",
        ("access:servers", "read:shares", "users:shares", "groups:shares"),
    ),
    "users:shares": Definition("Read and leave what is shared with users", ("read:users:shares",)),
    "groups:shares": Definition("Read and leave what is shared with groups", ("read:groups:shares",)),
    "read:shares": Definition("Read with whom servers are shared"),
    "read:users:shares": Definition("Read what is shared with users"),
    "read:groups:shares": Definition("Read what is shared with groups"),
    "proxy": Definition("Read and reload the proxy's routes"),
    "shutdown": Definition("Shut the hub down"),
    "read:metrics": Definition("Read Prometheus metrics"),
    "read:audit": Definition("Read the audit trail: who did what, when and from where"),
}
