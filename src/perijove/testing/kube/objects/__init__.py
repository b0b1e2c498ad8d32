"""What Kubernetes objects are, apart from any server: kinds, schemas, selectors, patches, field ownership."""
