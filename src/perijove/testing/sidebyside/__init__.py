"""One script of requests, sent to a stock JupyterHub and to Perijove, and the answers held side by side."""
