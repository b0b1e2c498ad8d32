"""What the objects of a release are called: z2jh's names, so that what it installed can be taken over.

The renderer makes objects under these names, and the hub's code asks for them (`z2jh.get_name`); both
must come from one place, because a pod that names a scheduler nobody registered is never started.
"""

from collections.abc import Mapping
from typing import Final

from perijove.config.schema.settings import Settings

CHART: Final = "jupyterhub"

# Objects of the namespace: the release's prefix, then this.
_PLAIN: Final = {
    "hub": "hub",
    "hub-pvc": "hub-db-dir",
    "proxy": "proxy",
    "proxy-api": "proxy-api",
    "proxy-http": "proxy-http",
    "proxy-public": "proxy-public",
    "proxy-public-tls": "proxy-public-tls-acme",
    "proxy-public-manual-tls": "proxy-public-manual-tls",
    "autohttps": "autohttps",
    "user-scheduler-deploy": "user-scheduler",
    "user-scheduler-lock": "user-scheduler-lock",
    "user-placeholder": "user-placeholder",
    "hook-image-awaiter": "hook-image-awaiter",
    "hook-image-puller": "hook-image-puller",
    "continuous-image-puller": "continuous-image-puller",
    "singleuser": "singleuser",
    "image-pull-secret": "image-pull-secret",
}


def app_label(settings: Settings) -> str:
    """The label `app`, which selectors contain."""
    return settings.name_override or CHART


def full_name(settings: Settings, release: str) -> str:
    """`fullnameOverride`, or what z2jh makes of release and chart where it is null; "" for plain names."""
    if settings.fullname_override is not None:
        return settings.fullname_override
    # "" is not null: the name of the release alone.
    name = CHART if settings.name_override is None else settings.name_override
    return release if not name or name in release else f"{release}-{name}"


def release_names(settings: Settings, release: str) -> Mapping[str, str]:
    """z2jh's key for each object -> its name in this release."""
    full = full_name(settings, release)
    dash = f"{full}-" if full else ""
    names = {
        "fullname": full,
        "fullname-dash": dash,
        **{key: dash + name for key, name in _PLAIN.items()},
        "hub-existing-secret": settings.hub.existing_secret or "",
        "hub-existing-secret-or-default": settings.hub.existing_secret or f"{dash}hub",
        "ingress": full or CHART,
        # One name for the whole cluster, so never without the release.
        "priority": full or f"{release}-default-priority",
        "user-placeholder-priority": f"{dash or f'{release}-'}user-placeholder{'' if full else '-priority'}",
        "image-puller-priority": f"{dash or f'{release}-'}image-puller{'' if full else '-priority'}",
        "user-scheduler": f"{dash or f'{release}-'}user-scheduler",
    }
    return {**names, **_accounts(settings, names)}


def _accounts(settings: Settings, names: Mapping[str, str]) -> dict[str, str]:
    """Service accounts; "" is the namespace's own."""
    accounts = {
        "hub-serviceaccount": (settings.hub.service_account, "hub"),
        "autohttps-serviceaccount": (settings.proxy.traefik.service_account, "autohttps"),
        "user-scheduler-serviceaccount": (
            settings.scheduling.user_scheduler.service_account,
            "user-scheduler-deploy",
        ),
        "hook-image-awaiter-serviceaccount": (settings.pre_puller.hook.service_account, "hook-image-awaiter"),
        "hook-image-puller-serviceaccount": (
            settings.pre_puller.hook.service_account_image_puller,
            "hook-image-puller",
        ),
        "continuous-image-puller-serviceaccount": (
            settings.pre_puller.continuous.service_account,
            "continuous-image-puller",
        ),
    }
    return {key: account.name or (names[own] if account.create else "") for key, (account, own) in accounts.items()}
