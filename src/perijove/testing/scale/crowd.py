"""Many users and running servers, written straight into PostgreSQL: through the API it would take an hour."""

from sqlalchemy import text

GROUPS = 200
# One group has a fifth of all users; the others share the rest.
LARGE_SHARE = 5
# Of the users who have a session, a token and a line in the audit trail.
SESSION_EVERY, TOKEN_EVERY, AUDIT_LINES = 5, 2, 3

_STATEMENTS = """
INSERT INTO users (name, admin, created, last_activity, auth_stale)
SELECT 'user' || lpad(n::text, 6, '0'), false, now() - n * interval '1 minute',
       CASE WHEN n % 10 <> 0 THEN now() - (n * 7919 % 100000) * interval '1 minute' END, false
FROM generate_series(1, :users) n;

INSERT INTO groups (name, properties) SELECT 'group' || lpad(n::text, 3, '0'), '{}' FROM generate_series(0, :groups) n;

INSERT INTO user_groups (user_id, group_id)
SELECT u.id, g.id FROM users u JOIN groups g ON g.name = 'group' || lpad((1 + u.id % :groups)::text, 3, '0')
WHERE u.name LIKE 'user%';
INSERT INTO user_groups (user_id, group_id)
SELECT u.id, g.id FROM users u JOIN groups g ON g.name = 'group000' WHERE u.name LIKE 'user%' AND u.id % :share = 0;

INSERT INTO servers (user_id, name, display_name, created, desired, generation, user_options, observed, phase,
                     observed_generation, state, url, started, last_activity, next_poll, oauth_client_id, lease_epoch,
                     attempts)
SELECT u.id, '', '', now() - interval '1 day', 'running', 1, '{}', 'running', '', 1, '{"running": true}', :stub,
       now() - interval '1 hour', now() - (u.id % 60) * interval '1 minute',
       now() + (u.id % 30) * interval '1 second', 'jupyterhub-user-' || u.name, 1, 0
FROM users u WHERE u.name LIKE 'user%' ORDER BY u.id LIMIT :servers;

INSERT INTO oauth_clients (id, secret_hash, redirect_uri, allowed_scopes, description, server_id)
SELECT s.oauth_client_id, md5(s.id::text), '/user/' || u.name || '/oauth_callback', '[]', 'Server', s.id
FROM servers s JOIN users u ON u.id = s.user_id WHERE s.oauth_client_id LIKE 'jupyterhub-user-user%';

INSERT INTO tokens (hashed, prefix, user_id, server_id, browser_session, scopes, note, created, from_config)
SELECT 'sha256:' || md5('server' || s.id), left(md5('s' || s.id), 8), s.user_id, s.id, '', '[]', 'Server', now(), false
FROM servers s WHERE s.oauth_client_id LIKE 'jupyterhub-user-user%';
INSERT INTO tokens (hashed, prefix, user_id, browser_session, scopes, note, created, from_config)
SELECT 'sha256:' || md5('token' || u.id), left(md5('t' || u.id), 8), u.id, '', '["inherit"]', 'mine', now(), false
FROM users u WHERE u.name LIKE 'user%' AND u.id % :token_every = 0;

INSERT INTO sessions (hashed, user_id, browser_session, created, last_seen, expires_at, user_agent, address)
SELECT md5('session' || u.id) || md5('hashed' || u.id), u.id, md5('browser' || u.id), now(), now(),
       now() + interval '10 days', '', ''
FROM users u WHERE u.name LIKE 'user%' AND u.id % :session_every = 0;

INSERT INTO audit (at, action, actor, subject, address, correlation_id, result, data)
SELECT now() - (n * 7919 % 100000) * interval '1 minute', (ARRAY['login', 'server.start', 'server.stop'])[1 + n % 3],
       u.name, u.name, '', '', 'ok', '{}'
FROM users u CROSS JOIN generate_series(1, :lines) n WHERE u.name LIKE 'user%';
"""


def statements(*, users: int, servers: int, stub: str) -> list[object]:
    """To be executed one after another, in one transaction or several."""
    values = {
        "users": users,
        "servers": servers,
        "stub": stub,
        "groups": GROUPS,
        "share": LARGE_SHARE,
        "token_every": TOKEN_EVERY,
        "session_every": SESSION_EVERY,
        "lines": AUDIT_LINES,
    }
    made = []
    for part in _STATEMENTS.split(";\n"):
        if part.strip():
            # Casts are not parameters.
            statement = text(part.strip().rstrip(";").replace("::", r"\:\:"))
            names = statement._bindparams  # noqa: SLF001 - which of them this one has
            made.append(statement.bindparams(**{name: values[name] for name in names}))
    return [*made, text("ANALYZE")]
