"""TLS of listeners: certificates by the name that a client asks for, read again when their files change.

The context that a listener was given stays; which certificate it shows is decided in each handshake. So a renewed
certificate needs no restart, and a broken one is logged and never shown: the old one goes on.
"""

import ssl
from collections.abc import Iterable
from pathlib import Path

from perijove.lib.log import get_logger
from perijove.proxy.options import TLSOptions

log = get_logger(__name__)

# TLS 1.2: forward secrecy and authenticated encryption, nothing else. TLS 1.3 has no others.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL:!PSK"
_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


class BadCertificate(OSError):
    """A certificate or key that cannot be used."""


class Certificates:
    """Raises OSError when the files cannot be used at the start."""

    def __init__(self, options: TLSOptions) -> None:
        self._options = options
        self._seen = self._files()
        self._default, self._by_name = self._read()
        self.context = _context(options, *options.certificates[0])
        self.context.sni_callback = self._choose

    def reload(self) -> bool:
        """Read changed files; whether there were any."""
        seen = self._files()
        if seen == self._seen:
            return False
        self._seen = seen
        try:
            self._default, self._by_name = self._read()
        except OSError as error:
            # Of the files, not of ours: the reason says it all.
            log.error("the changed certificate cannot be used; the old one stays", problem=str(error))  # noqa: TRY400 - said above
            return False
        log.info("certificates read again", names=sorted(self._by_name) or None)
        return True

    def _files(self) -> list[tuple[int, int, int]]:
        """What tells a changed file; Kubernetes swaps a link above it, so the file itself is looked at."""
        seen = []
        for file in self._paths():
            try:
                status = file.stat()
            except OSError:
                seen.append((0, 0, 0))
            else:
                seen.append((status.st_ino, status.st_mtime_ns, status.st_size))
        return seen

    def _paths(self) -> Iterable[Path]:
        for chain, key in self._options.certificates:
            yield chain
            if key is not None:
                yield key

    def _read(self) -> tuple[ssl.SSLContext, dict[str, ssl.SSLContext]]:
        contexts = [_context(self._options, chain, key) for chain, key in self._options.certificates]
        by_name: dict[str, ssl.SSLContext] = {}
        if len(contexts) > 1:
            for (chain, _), context in zip(self._options.certificates, contexts, strict=True):
                for name in _names(chain):
                    by_name.setdefault(name, context)
        return contexts[0], by_name

    def _choose(self, connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        context = self._default
        if name is not None and self._by_name:
            host = name.lower().removesuffix(".")
            context = self._by_name.get(host) or self._by_name.get("*." + host.partition(".")[2]) or self._default
        connection.context = context


def _context(options: TLSOptions, chain: Path, key: Path | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[options.minimum]
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    try:
        context.set_ciphers(options.ciphers or _CIPHERS)
        # "" instead of a question on the terminal of a service.
        context.load_cert_chain(chain, key, password=options.passphrase or "")
        if options.dhparam is not None:
            context.load_dh_params(str(options.dhparam))
        if options.client_ca is not None:
            context.load_verify_locations(options.client_ca)
    except (OSError, ssl.SSLError) as error:
        raise BadCertificate(f"{chain}{f', {key}' if key else ''}: {error}") from error
    if options.require_client:
        context.verify_mode = ssl.CERT_REQUIRED
    elif options.request_client:
        context.verify_mode = ssl.CERT_OPTIONAL
    context.set_alpn_protocols(["http/1.1"])
    return context


def _names(chain: Path) -> list[str]:
    """The names that the first certificate of the file is for."""
    # Only those with several certificates pay for loading it.
    from cryptography import x509  # noqa: PLC0415 - said above

    certificate = x509.load_pem_x509_certificate(chain.read_bytes())
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return [
            str(item.value).lower() for item in certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        ]
    return [name.lower() for name in names.get_values_for_type(x509.DNSName)]
