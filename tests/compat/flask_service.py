"""A service in Flask as people write them: the stock `HubOAuth` without its Tornado handlers."""

import os
import secrets
from urllib.parse import urlsplit

from flask import Flask, abort, make_response, redirect, request, session
from jupyterhub.services.auth import HubOAuth

PREFIX = os.environ["JUPYTERHUB_SERVICE_PREFIX"]
auth = HubOAuth(api_token=os.environ["JUPYTERHUB_API_TOKEN"], cache_max_age=1)
app = Flask(__name__)
app.secret_key = secrets.token_bytes(32)
app.config |= {"SESSION_COOKIE_PATH": PREFIX, "SESSION_COOKIE_NAME": "flask-session"}


@app.get(PREFIX)
def whoami():
    token = session.get("token")
    user = auth.user_for_token(token) if token else None
    if user:
        return {"name": user["name"], "scopes": user["scopes"]}
    state = auth.generate_state(next_url=request.full_path)
    response = make_response(redirect(f"{auth.login_url}&state={state}"))
    response.set_cookie(auth.state_cookie_name, state, path=PREFIX)
    return response


@app.get(f"{PREFIX}oauth_callback")
def callback():
    state = request.args.get("state")
    if not state or state != request.cookies.get(auth.state_cookie_name):
        abort(403)
    session["token"] = auth.token_for_code(request.args["code"])
    return redirect(auth.get_next_url(state) or PREFIX)


if __name__ == "__main__":
    url = urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"])
    app.run(url.hostname, url.port)
