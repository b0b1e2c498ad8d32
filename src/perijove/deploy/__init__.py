"""Settings to manifests, and manifests to a cluster."""
