"""The OpenAPI document: `/hub/api/openapi.json`."""
