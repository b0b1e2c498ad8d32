"""Identifiers. Distinct types, so that a user's id never stands where a server's is wanted."""

from typing import NewType

UserId = NewType("UserId", int)
GroupId = NewType("GroupId", int)
ServerId = NewType("ServerId", int)
ServiceId = NewType("ServiceId", int)
TokenId = NewType("TokenId", int)
SessionId = NewType("SessionId", int)
# The random value of the browser cookie `jupyterhub-session-id`: names a browser session to
# single-user servers, is no credential.
BrowserSession = NewType("BrowserSession", str)
Revision = NewType("Revision", int)
LeaseEpoch = NewType("LeaseEpoch", int)
