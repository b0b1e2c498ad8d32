"""Who asks: bearer tokens, of the administrator and of service accounts."""

import secrets
from dataclasses import dataclass, field

from perijove.testing.kube.objects.failures import unauthorized

ADMIN_GROUP = "system:masters"
SERVICE_ACCOUNT = "system:serviceaccount"


@dataclass(frozen=True, slots=True)
class User:
    name: str
    groups: tuple[str, ...] = ()

    @property
    def service_account(self) -> tuple[str, str] | None:
        """Namespace and name."""
        parts = self.name.split(":")
        return (parts[2], parts[3]) if self.name.startswith(f"{SERVICE_ACCOUNT}:") else None


ADMIN = User("kubernetes-admin", (ADMIN_GROUP, "system:authenticated"))
ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))


def service_account(namespace: str, name: str) -> User:
    groups = (f"{SERVICE_ACCOUNT}s", f"{SERVICE_ACCOUNT}s:{namespace}", "system:authenticated")
    return User(f"{SERVICE_ACCOUNT}:{namespace}:{name}", groups)


@dataclass
class Tokens:
    _users: dict[str, User] = field(default_factory=dict)

    def mint(self, user: User) -> str:
        token = secrets.token_urlsafe(24)
        self._users[token] = user
        return token

    def revoke(self, token: str) -> None:
        self._users.pop(token, None)

    def user(self, authorization: str) -> User:
        """Raises 401 for a token nobody has; no header at all is the anonymous user."""
        if not authorization:
            return ANONYMOUS
        kind, _, token = authorization.partition(" ")
        if kind.lower() != "bearer" or token.strip() not in self._users:
            raise unauthorized()
        return self._users[token.strip()]
