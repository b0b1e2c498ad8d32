"""Real database servers for tests: started in a moment, thrown away after, and hurt at will.

    with PostgreSQL() as server:                     # or MariaDB(): own directory, own free port, TLS offered
        url = server.create_database()               # a fresh, empty one; "postgresql://perijove:…@127.0.0.1:…/db_1"
        server.freeze(); server.thaw()               # SIGSTOP, SIGCONT: connected, but silent
        server.kill(); server.start()                # a crash: committed transactions survive
        server.stop(); server.start()                # a restart in good order; same port, same databases

The fixtures `postgres` and `mariadb` of `tests/conftest.py` are servers shared by all tests of a session (of one
worker, under xdist), started when the first test asks; a test takes a database of its own from them and leaves the
server alone. Who wants to hurt one makes its own: a second for PostgreSQL, two or three for MariaDB.

All calls block, the fast ones (create_database, freeze, kill) for well under a second; from a coroutine run `start`
and `stop` by `asyncio.to_thread`. Servers refuse to run as root, so root runs them as `nobody`. They end with the
process that made them, however that goes.
"""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, Self

import psutil

from perijove.cli.listening import free_port
from perijove.testing.hub import is_alive
from perijove.testing.tls import Authority

START_SECONDS = 60.0
STOP_SECONDS = 30.0
USER = "perijove"
_MEMORY, _ROOM = "/dev/shm", 1 << 30  # noqa: S108 - names below it are made by mkdtemp
# Where Debian keeps programs that are not for everybody's PATH.
_DIRECTORIES = ("/usr/lib/postgresql/*/bin", "/usr/sbin", "/usr/local/sbin")


class DatabaseMissing(Exception):
    """The server's programs are not installed: skip the test, saying this."""


class DatabaseFailed(Exception):
    """The server did not start, or refused a statement; the message ends with what it said."""


def _program(name: str, package: str) -> str:
    # These first: Debian's /usr/bin/psql chooses a server by configuration that is none of ours.
    for pattern in _DIRECTORIES:
        for directory in sorted(Path("/").glob(pattern.lstrip("/")), reverse=True):
            if (directory / name).exists():
                return str(directory / name)
    found = shutil.which(name)
    if found is None:
        raise DatabaseMissing(f"{name} is not installed (Debian package {package})")
    return found


def _roomy_memory() -> str | None:
    """MariaDB waits for the disk several times a table; in memory a new database takes a tenth of the time."""
    with suppress(OSError):
        if os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _ROOM:
            return _MEMORY
    return None


def _stands_still(process: psutil.Process) -> bool:
    """Whether all its threads are stopped, or it is gone."""
    with suppress(OSError):
        states = (task.joinpath("stat").read_text() for task in Path(f"/proc/{process.pid}/task").iterdir())
        return all(state.rpartition(")")[2].split()[0] in "TtZX" for state in states)
    return True


class DatabaseServer(ABC):
    """One server process with its directory. A context manager: started on entry, gone on exit."""

    # The scheme of its URLs.
    dialect: ClassVar[str]

    def __init__(self, *, host: str = "127.0.0.1", port: int | None = None) -> None:
        """`host`: the address it listens on, and the one in URLs. Raises `DatabaseMissing`."""
        self.host = host
        self.port = port or free_port(host)
        self.password = secrets.token_hex(8)
        self.process: psutil.Popen | None = None
        self._watch: subprocess.Popen[bytes] | None = None
        self._made = 0
        self.find_programs()
        # Not below pytest's own directories, which only their owner may enter. Short, for sockets' sake.
        self.directory = Path(tempfile.mkdtemp(prefix="perijove-db-", dir=_roomy_memory()))
        self._user = pwd.getpwnam("nobody") if os.getuid() == 0 else pwd.getpwuid(os.getuid())
        self.tls = Authority(self.directory)
        self._certificate, self._key = self.tls.issue("localhost", "localhost", host)
        self._key.chmod(0o600)
        for path in (self.directory, *self.directory.iterdir()):
            os.chown(path, self._user.pw_uid, self._user.pw_gid)
        self.tls.ca.chmod(0o644)
        self.initialise()

    # What differs between the kinds.
    @abstractmethod
    def find_programs(self) -> None: ...
    @abstractmethod
    def initialise(self) -> None: ...
    @abstractmethod
    def command(self) -> list[str]: ...
    @abstractmethod
    def prepare(self) -> None:
        """Once, when it runs for the first time: the account in URLs."""

    @abstractmethod
    def admin(self, statements: str, *, database: str = "") -> str:
        """Run SQL as the server's superuser, for faults and for looking; returns rows, one a line, tab-separated."""

    @abstractmethod
    def create_database(self) -> str:
        """A new, empty database; its URL, with the password in it."""

    stop_signal: ClassVar[signal.Signals]

    def __enter__(self) -> Self:
        try:
            self.start()
            self.prepare()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def url(self, database: str, *, password: str | None = None) -> str:
        return f"{self.dialect}://{USER}:{password or self.password}@{self.host}:{self.port}/{database}"

    @property
    def log(self) -> str:
        path = self.directory / "server.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def start(self) -> None:
        """Start, or start again after `stop` or `kill`; returns when it answers."""
        with (self.directory / "server.log").open("ab") as log:
            self.process = psutil.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "HOME": str(self.directory)},
                start_new_session=True,
                **self._as_user(),
            )
        # Ends the server when this process is gone: its end of the pipe closes, whatever killed it.
        self._watch = subprocess.Popen(  # noqa: S603 - a number of our own
            ["/bin/sh", "-c", f"read -r _; kill -KILL {self.process.pid}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._until(self.answers, f"did not answer within {START_SECONDS:.0f} s", seconds=START_SECONDS)

    def answers(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise DatabaseFailed(f"the server ended with code {self.process.returncode}:\n{self.log[-4000:]}")
        with suppress(DatabaseFailed):
            return self.admin("SELECT 1").strip() == "1"
        return False

    def stop(self) -> None:
        """Stop in good order; connections are closed by the server."""
        if self.process is None:
            return
        self._unwatch()
        self.thaw()
        self.process.send_signal(self.stop_signal)
        try:
            self.process.wait(STOP_SECONDS)
        except psutil.TimeoutExpired:
            self.kill()
        self.process = None

    def kill(self) -> None:
        """SIGKILL for all of it, as when the machine loses power, but for its disk."""
        if self.process is None:
            return
        self._unwatch()
        family = self._family()
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait(STOP_SECONDS)
        self._until(lambda: not any(is_alive(process) for process in family), "did not die", seconds=STOP_SECONDS)
        self.process = None

    def freeze(self) -> None:
        """SIGSTOP for all of it: connections stay open and nothing answers."""
        family = self._family()
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.suspend()
        # A thread in the middle of a system call stops after it, and could answer until then.
        self._until(lambda: all(map(_stands_still, family)), "did not freeze", seconds=STOP_SECONDS)

    def thaw(self) -> None:
        for process in self._family():
            with suppress(psutil.NoSuchProcess):
                process.resume()

    def restart(self) -> None:
        self.stop()
        self.start()

    def remove(self) -> None:
        """End it and delete its directory."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _family(self) -> list[psutil.Process]:
        if self.process is None:
            return []
        with suppress(psutil.NoSuchProcess):
            parent = psutil.Process(self.process.pid)
            return [parent, *parent.children(recursive=True)]
        return []

    def _unwatch(self) -> None:
        if self._watch is not None:
            self._watch.kill()
            assert self._watch.stdin is not None
            self._watch.stdin.close()
            self._watch.wait()
            self._watch = None

    def _until(self, condition: Callable[[], bool], message: str, *, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise DatabaseFailed(f"the server {message}:\n{self.log[-4000:]}")
            time.sleep(0.05)

    def _as_user(self) -> dict[str, Any]:
        if os.getuid() != 0:
            return {}
        return {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}

    def run(self, command: list[str], *, input_text: str = "") -> str:
        """A program of the database's, as the user that the server runs as."""
        done = subprocess.run(  # noqa: S603 - the server's own programs
            command,
            input=input_text,
            capture_output=True,
            text=True,
            check=False,
            cwd=self.directory,
            env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "HOME": str(self.directory), "PGCONNECT_TIMEOUT": "5"},
            timeout=START_SECONDS,
            **self._as_user(),
        )
        if done.returncode:
            raise DatabaseFailed(f"{Path(command[0]).name}: {(done.stderr or done.stdout).strip()[-2000:]}")
        return str(done.stdout)

    def _next_name(self) -> str:
        self._made += 1
        return f"db_{self._made}"


class PostgreSQL(DatabaseServer):
    """PostgreSQL, of whichever version is installed."""

    dialect = "postgresql"
    # Closes connections instead of waiting for their owners.
    stop_signal = signal.SIGINT

    def find_programs(self) -> None:
        self._initdb, self._postgres, self._psql = (
            _program(name, "postgresql") for name in ("initdb", "postgres", "psql")
        )

    def initialise(self) -> None:
        options = ["--username=postgres", "--auth-local=trust", "--auth-host=scram-sha-256", "--no-sync"]
        self.run([self._initdb, "-D", str(self.directory / "data"), "--encoding=UTF8", "--locale=C.UTF-8", *options])
        with (self.directory / "data" / "pg_hba.conf").open("a", encoding="ascii") as rules:
            rules.write("host all all all scram-sha-256\n")

    def command(self) -> list[str]:
        settings = {
            "listen_addresses": self.host,
            "port": self.port,
            "unix_socket_directories": self.directory,
            "max_connections": 200,
            "shared_buffers": "64MB",
            # A killed server loses nothing by this; only a machine that loses power would.
            "fsync": "off",
            "full_page_writes": "off",
            "ssl": "on",
            "ssl_cert_file": self._certificate,
            "ssl_key_file": self._key,
            # Anything but UTC, so that whoever forgets the zone of a time is found out.
            "timezone": "Asia/Kathmandu",
        }
        return [
            *(self._postgres, "-D", str(self.directory / "data")),
            *(part for key, value in settings.items() for part in ("-c", f"{key}={value}")),
        ]

    def prepare(self) -> None:
        self.admin(f"CREATE ROLE {USER} LOGIN PASSWORD '{self.password}'")

    def admin(self, statements: str, *, database: str = "") -> str:
        options = ["-X", "-q", "-A", "-t", "-F", "\t", "-v", "ON_ERROR_STOP=1"]
        place = ["-h", str(self.directory), "-p", str(self.port), "-U", "postgres", "-d", database or "postgres"]
        return self.run([self._psql, *options, *place], input_text=statements)

    def create_database(self) -> str:
        name = self._next_name()
        self.admin(f"CREATE DATABASE {name} OWNER {USER}")
        return self.url(name)


class MariaDB(DatabaseServer):
    """MariaDB, of whichever version is installed; stands in for MySQL, whose protocol and dialect it speaks."""

    dialect = "mysql"
    stop_signal = signal.SIGTERM

    def find_programs(self) -> None:
        self._mariadbd, self._install, self._client = (
            _program("mariadbd", "mariadb-server-core"),
            _program("mariadb-install-db", "mariadb-server-core"),
            _program("mariadb", "mariadb-client-core"),
        )

    def initialise(self) -> None:
        options = ["--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve"]
        self.run([self._install, "--no-defaults", f"--datadir={self.directory / 'data'}", *options])

    def command(self) -> list[str]:
        settings = {
            "datadir": self.directory / "data",
            "socket": self.directory / "server.sock",
            "pid-file": self.directory / "server.pid",
            "bind-address": self.host,
            "port": self.port,
            "max-connections": 200,
            # Written to the system at each commit, which a killed process does not take back.
            "innodb-flush-log-at-trx-commit": 2,
            "innodb-buffer-pool-size": "64M",
            "innodb-log-file-size": "16M",
            "ssl-cert": self._certificate,
            "ssl-key": self._key,
            "ssl-ca": self.tls.ca,
            # What careless installations have: the hub must say itself what it needs.
            "character-set-server": "latin1",
            "default-time-zone": "+05:45",
        }
        return [
            *(self._mariadbd, "--no-defaults", "--skip-name-resolve", "--skip-innodb-doublewrite"),
            *(f"--{key}={value}" for key, value in settings.items()),
        ]

    def prepare(self) -> None:
        self.admin(f"CREATE USER {USER}@'%' IDENTIFIED BY '{self.password}'")

    def admin(self, statements: str, *, database: str = "") -> str:
        place = ["--no-defaults", "--user=root", f"--socket={self.directory / 'server.sock'}"]
        options = ["--batch", "--skip-column-names", "--default-character-set=utf8mb4"]
        return self.run([self._client, *place, *options, *([database] if database else [])], input_text=statements)

    def create_database(self) -> str:
        name = self._next_name()
        self.admin(f"CREATE DATABASE {name}; GRANT ALL ON {name}.* TO {USER}@'%'")
        return self.url(name)
