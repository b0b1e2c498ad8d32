"""Whether anything costs more the more users there are: `python -m bench.scale`."""
