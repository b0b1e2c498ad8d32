"""What proxies ask of a hub: the route table as list and watch, and where they report activity.

Reached only on the hub's own port with the proxies' token; the proxy never forwards these paths.
"""
