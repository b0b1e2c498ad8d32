"""The conditions as a page of documentation, from the same words that the controller uses."""

from perijove.controller.hub import CONDITIONS, REASONS, RETRY

_INTRO = f"""# Conditions of a Hub

The chart's controller reports on the object `Hub` that has the release's name: `kubectl describe hub jhub`. Each
condition has `observedGeneration`, the version of the values that it is about, and a message; what changes is an Event
too.

```sh
kubectl -n jhub wait --for=condition=Ready --timeout=10m hub/jhub
kubectl -n jhub get events --field-selector involvedObject.kind=Hub
```

`Ready`, `Stalled` and `observedGeneration` mean what kstatus (Flux, Helm 4) takes them to mean. The readiness of the
controller's pod follows `Ready`, for tools that look at nothing else (`helm --wait` before Helm 4, Argo CD).

After `RolloutFailed` the same values are tried again when told: `kubectl annotate hub jhub {RETRY}=$(date +%s)
--overwrite`."""


def markdown() -> str:
    conditions = "\n".join(f"| `{kind}` | {meaning} |" for kind, meaning in CONDITIONS.items())
    reasons = "\n".join(f"| `{reason}` | {meaning} |" for reason, meaning in REASONS.items())
    return (
        f"{_INTRO}\n\n## Types\n\n| condition | true means |\n| --- | --- |\n{conditions}\n\n"
        f"## Reasons\n\n| reason | meaning |\n| --- | --- |\n{reasons}\n"
    )
