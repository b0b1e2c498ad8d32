"""A thing that is wrong with an object: where, and what in the API server's words."""

Problem = tuple[str, str]


def invalid_value(value: object, why: str) -> str:
    said = f'"{value}"' if isinstance(value, str) else str(value)
    return f"Invalid value: {said}: {why}"
