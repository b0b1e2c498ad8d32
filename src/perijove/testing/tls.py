"""Certificates for tests: a throwaway authority, and what it vouches for."""

import subprocess
from pathlib import Path

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


class Authority:
    """Its certificate is `ca`; `issue` makes others. Files are kept in `place`."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self.ca = place / "ca.pem"
        self._key = place / "ca.key"
        self._run(
            "req", "-x509", *_KEY, "-days", "1", "-subj", "/CN=test authority", "-keyout", self._key, "-out", self.ca
        )

    def issue(self, name: str, *names: str) -> tuple[Path, Path]:
        """Certificate and key for these DNS names or addresses; the files are named after the first."""
        certificate, key, request = (self._place / f"{name}.{end}" for end in ("pem", "key", "csr"))
        extensions = self._place / f"{name}.ext"
        kinds = (f"{'IP' if each.replace('.', '').isdigit() else 'DNS'}:{each}" for each in names or (name,))
        extensions.write_text(f"subjectAltName={','.join(kinds)}\n", encoding="ascii")
        self._run("req", *_KEY, "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        self._run(
            *("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self._key, "-CAcreateserial"),
            *("-days", "1", "-extfile", extensions, "-out", certificate),
        )
        return certificate, key

    def _run(self, *arguments: str | Path) -> None:
        command = ["openssl", *map(str, arguments)]
        subprocess.run(command, cwd=self._place, check=True, capture_output=True)  # noqa: S603 - the test's own files
