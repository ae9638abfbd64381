"""Recognisable secrets, given in every way there is, are in nothing that comes out of the check, whatever happens.

What is made of a password is as good as one: hashes of it, tokens and responses, the keys that they lead to. So are
private keys, line by line, and the keys in a keytab.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Sequence, Tuple, Type

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from check_lync_presence.lync import ntlm
from check_lync_presence.lync.association import AuthHeader
from check_lync_presence.lync.md4 import md4
from check_lync_presence.sip.message import Message, Request, Response
from check_lync_presence.sip.transaction import response_to

from .. import tiny_directory as directory
from .. import tiny_pool
from ..certificates import user_certificate
from ..commands import POOL, Finished, Simulator, environment
from ..lab.kerberos import REALM, configured, gssapi
from ..simple import tiny_server
from ..tiny_pool import Session, TinyPool

ANN, BEN, LDAP = "Geheim-of-ann-4711", "Geheim-of-ben-4712", "Geheim-of-ldap-4713"
PASSWORDS = {"publisher": ANN, "subscriber": BEN, "ldap": LDAP}
USERS = """\
publisher       = sip:ann@contoso.example
publisher_user  = CONTOSO\\ann
subscriber      = sip:ben@contoso.example
subscriber_user = ben@contoso.example
ldap_bind       = reader
"""
verbosities = pytest.mark.parametrize("verbosity", ["-v0", "-v", "-vv", "-vvv"])


# -------------------------------------------------------- how they are given


class Given(NamedTuple):
    """What a way to give the three passwords adds: lines of the accounts file, arguments, environment, input."""

    lines: List[str]
    arguments: List[str]
    variables: Dict[str, str]
    stdin: str


def in_the_accounts_file(folder: Path) -> Given:
    return Given([f"{role}_password = {secret}" for role, secret in PASSWORDS.items()], [], {}, "")


def in_files(folder: Path) -> Given:
    arguments = []
    for role, secret in PASSWORDS.items():
        arguments += [f"--{role}-password-file", private(folder / f"{role}.secret", f"{secret}\n")]
    return Given([], arguments, {}, "")


def in_files_named_in_the_accounts_file(folder: Path) -> Given:
    paths = [private(folder / f"{role}.secret", f"{secret}\n") for role, secret in PASSWORDS.items()]
    return Given([f"{role}_password_file = {path}" for role, path in zip(PASSWORDS, paths)], [], {}, "")


def on_standard_input(folder: Path) -> Given:
    arguments = [f"--{role}-password-file=-" for role in PASSWORDS]
    return Given([], arguments, {}, "".join(f"{secret}\n" for secret in PASSWORDS.values()))


def in_the_environment(folder: Path) -> Given:
    return Given([], [], {f"{role.upper()}_PASSWORD": secret for role, secret in PASSWORDS.items()}, "")


def by_commands(folder: Path) -> Given:
    paths = [private(folder / f"{role}.secret", f"{secret}\n") for role, secret in PASSWORDS.items()]
    return Given([f"{role}_password_command = cat {path}" for role, path in zip(PASSWORDS, paths)], [], {}, "")


WAYS = (
    in_the_accounts_file,
    in_files,
    in_files_named_in_the_accounts_file,
    on_standard_input,
    in_the_environment,
    by_commands,
)
Way = Callable[[Path], Given]
Running = subprocess.Popen  # of text


def private(path: Path, text: str) -> str:
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")
    return str(path)


# ------------------------------------------------------------- what comes out


class Ran(NamedTuple):
    """A check that has ended: what it said, and what it has left in its folders."""

    result: Finished
    left: bytes


class Host:
    """An empty home, an empty folder for temporary files, an empty one for state: what is in them is the check's."""

    def __init__(self, folder: Path, given: Given) -> None:
        self.folders = [folder / name for name in ("home", "temporary", "state", "work")]
        for path in self.folders:
            path.mkdir(mode=0o700)
        home, temporary, state, _ = map(str, self.folders)
        self.given = given
        self.state = self.folders[2]
        accounts = private(folder / "accounts.ini", f"[{POOL}]\n{USERS}" + "\n".join(given.lines) + "\n")
        self.arguments = ["-H", POOL, "--accounts", accounts, "--state-dir", state, *given.arguments]
        root = str(Path(__file__).resolve().parents[2])
        self.environment = {**environment(HOME=home, TMPDIR=temporary, PYTHONPATH=root), **given.variables}

    def start(self, *arguments: str, code: str = "from check_lync_presence.cli import main; main()") -> Running[str]:
        return subprocess.Popen(
            [sys.executable, "-c", code, *self.arguments, *(item for item in arguments if item != "-v0")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            cwd=self.folders[3],
            env=self.environment,
        )

    def end(self, process: Running[str]) -> Ran:
        output, errors = process.communicate(self.given.stdin, timeout=60)
        assert errors == ""
        files = [path for folder in self.folders for path in sorted(folder.rglob("*")) if path.is_file()]
        left = b"".join(bytes(path.relative_to(path.parents[1])) + path.read_bytes() for path in files)
        return Ran(Finished(process.returncode, output, errors), left)

    def run(self, *arguments: str, code: str = "from check_lync_presence.cli import main; main()") -> Ran:
        return self.end(self.start(*arguments, code=code))


def forms(secret: bytes) -> List[bytes]:
    """How octets are written."""
    return [secret, secret.hex().encode(), secret.hex().upper().encode(), b64encode(secret).rstrip(b"=")]


def of_passwords() -> Iterator[bytes]:
    """The passwords, what NTLM makes of them, and what anybody could."""
    for password in PASSWORDS.values():
        yield from forms(password.encode())
        yield from forms(password.encode("utf-16-le"))
        yield from forms(md4(password.encode("utf-16-le")))
        yield from forms(hashlib.sha256(password.encode()).digest())
        for user, domain in (("ann", "CONTOSO"), ("ben@contoso.example", "")):
            yield from forms(ntlm.ntowf_v2(ntlm.Credentials(user, domain, password)))


_CREDENTIALS = re.compile(r'\b(?:gssapi-data|response|rspauth)="?([^",\s]{8,})', re.IGNORECASE)


def of_messages(messages: Sequence[Message]) -> Iterator[bytes]:
    """Tokens, responses and signatures that were sent, and what they are made of."""
    for message in messages:
        for value in _CREDENTIALS.findall(bytes(message).decode("utf-8", "replace")):
            yield value.encode()
            with contextlib.suppress(ValueError):
                yield from forms(bytes.fromhex(value))
                continue
            with contextlib.suppress(ValueError, ntlm.NtlmError):
                token = ntlm.parse_authenticate(b64decode(value))
                for part in (token.nt_response, token.nt_response[:16], token.encrypted_key):
                    yield from forms(part)


def shows(ran: Ran, *more: bytes) -> List[bytes]:
    """What is secret in what has come out."""
    everything = ran.result.stdout.encode() + ran.left
    return [secret for secret in (*of_passwords(), *more) if len(secret) > 7 and secret in everything]


# ---------------------------------------------------------------- what happens


class Pool(TinyPool):
    """A pool in order; `keys` are those of its users' sessions, in every form."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: List[bytes] = []

    def on_token(self, session: Session, request: Request, credentials: AuthHeader) -> None:
        super().on_token(session, request, credentials)
        token = ntlm.parse_authenticate(b64decode(credentials.get("gssapi-data")))
        key = ntlm.accept_authenticate(tiny_pool.CHALLENGE, token, tiny_pool.PASSWORDS[session.uri])
        assert key is not None
        both = [ntlm.session_keys(key, direction) for direction in ("client-to-server", "server-to-client")]
        for found in (key, *both[0], *both[1]):
            self.keys += forms(found)


class Unknown(Pool):
    def on_first_register(self, session: Session, request: Request) -> None:
        self.reply(session, request, 404, sign=False)


class Refusing(Pool):
    """Refuses every password."""

    def on_token(self, session: Session, request: Request, credentials: AuthHeader) -> None:
        self.tokens[str(len(self.tokens))] = 1
        self.on_first_register(session, request)


class Mute(Pool):
    """Does not notify."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = threading.Event()

    def published(self, session: Session, note: str) -> None:
        self.waiting.set()


class Broken(Pool):
    """Sends what is no SIP once users have signed in, its own signature in it."""

    def on_subscribe(self, session: Session, request: Request) -> None:
        session.wire.send(f"SIP/2.0 banana\r\n{request.get('Proxy-Authorization')}\r\n\r\n".encode())


class Mirroring(Pool):
    """Sends tokens and signatures back under names of its own."""

    def on_subscribe(self, session: Session, request: Request) -> None:
        told = [header for message in self.received for header in message.headers if "uthorization" in header[0]]
        mirrored = tuple(
            (f"X-{number}", re.sub(r'(data|response)="', r'\1: "', value)) for number, (_, value) in enumerate(told)
        )
        self.reply(session, request, 403, (*mirrored, *((f"Y-{n}", value) for n, (_, value) in enumerate(told))))


class Echoing(Pool):
    """Says what it was sent in place of a password in words of its own, a part of it and the whole."""

    def on_token(self, session: Session, request: Request, credentials: AuthHeader) -> None:
        token = credentials.get("gssapi-data")
        raw = b64decode(token)
        proof = raw.index(ntlm.parse_authenticate(raw).nt_response) * 4 // 3  # what stands around it is no secret
        self.keys.append(token[proof : proof + 20].encode())
        self.tokens[token] = 1
        headers = (("ms-diagnostics", f'1;reason="a{token[:-7]}";source="{token[-160:]}"'), ("Server", token))
        refusal = response_to(request, 403, "server", headers)
        self.send(session, Response(403, f"No {token}, thanks", refusal.headers), sign=False)


@pytest.fixture(autouse=True)
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiny_pool, "PASSWORDS", {"sip:ann@contoso.example": ANN, "sip:ben@contoso.example": BEN})
    monkeypatch.setattr(tiny_server, "PASSWORDS", {"ann": ANN, "ben": BEN})


def at(port: int) -> List[str]:
    return ["--connect", f"127.0.0.1:{port}", "--transport", "tcp", "--notify-timeout", "0.3"]


SCENES = {Pool: 0, Unknown: 2, Refusing: 2, Mute: 2, Broken: 2, Mirroring: 2, Echoing: 2}


@verbosities
@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_whatever_a_pool_does_no_secret_is_shown(tmp_path: Path, scene: Type[Pool], verbosity: str) -> None:
    index = list(SCENES).index(scene)
    host = Host(tmp_path, WAYS[index % len(WAYS)](tmp_path))
    reads = directory.says(directory.result(directory.BIND_DONE, 49, f"no {LDAP}"))
    with directory.TinyDirectory(bind=reads) as server, scene() as pool:
        ran = host.run(*at(pool.server.port), verbosity, "--ldap-uri", server.uri, "--ldap-base", directory.BASE)
    assert ran.result.code == SCENES[scene], ran.result.stdout
    assert scene is Unknown or pool.tokens
    assert scene is not Unknown or any(LDAP.encode() in request.body for request in server.requests)
    # What was refused, the directory's bind too.
    assert bool(ran.left) == (scene in (Refusing, Unknown, Mirroring, Echoing))
    assert shows(ran, *of_messages(pool.received), *pool.keys) == []


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_every_way_to_give_a_password_works_and_none_shows_it(tmp_path: Path, way: Way) -> None:
    host = Host(tmp_path, way(tmp_path))
    with directory.TinyDirectory() as server, Pool() as pool:
        ran = host.run(*at(pool.server.port), "-vvv", "--ldap-uri", server.uri)
    assert ran.result.code == 0, ran.result.stdout
    assert sorted(pool.tokens) == ["sip:ann@contoso.example", "sip:ben@contoso.example"]
    assert ran.left == b""
    assert shows(ran, *of_messages(pool.received), *pool.keys) == []


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_a_trace_and_a_page_of_a_run_hold_no_secret_nor_does_what_is_played(tmp_path: Path, scene: Type[Pool]) -> None:
    host = Host(tmp_path, in_the_environment(tmp_path))
    with scene() as pool:
        ran = host.run(*at(pool.server.port), "-vvv", "--trace", "run.jsonl", "--report", "run.html")
    secrets = [*of_messages(pool.received), *pool.keys]
    assert ran.result.code == SCENES[scene], ran.result.stdout
    assert b"work/run.jsonl" in ran.left
    assert b"work/run.html" in ran.left
    assert shows(ran, *secrets) == []
    host.arguments = ["--replay", "run.jsonl", "-vvv", "--report", "played.html"]
    played = host.run()
    assert played.result.code == SCENES[scene], played.result.stdout
    assert b"work/played.html" in played.left
    assert shows(played, *secrets) == []


@verbosities
def test_digest_responses_are_not_shown(tmp_path: Path, verbosity: str) -> None:
    host = Host(tmp_path, in_the_environment(tmp_path))
    with tiny_server.TinyServer() as server:
        options = ["--protocol", "simple", "--publisher-user", "ann", "--subscriber-user", "ben"]
        ran = host.run(*at(server.server.port), *options, verbosity)
    assert ran.result.code == 0, ran.result.stdout
    responses = list(of_messages(server.received))
    assert len(responses) > 4
    assert shows(ran, *responses) == []


# ------------------------------------------------------------ mistakes of ours

# Raises an error that tells all it knows, in the place that is named.
_CRASH = """\
import importlib
module, _, name = {place!r}.rpartition(".")
def crash(*arguments, **keywords):
    raise RuntimeError({secrets!r}, arguments, keywords)
setattr(importlib.import_module("check_lync_presence." + module), name, crash)
from check_lync_presence.cli import main
main()
"""
PLACES = (
    "lync.ntlm.build_authenticate",
    "plugin.attempt",
    "plugin.tls_context",
    "cli._directory",
    "cli._state_folders",
)


@pytest.mark.parametrize("verbosity", ["-v0", "-vvv"])
@pytest.mark.parametrize("place", PLACES)
def test_an_error_of_ours_that_holds_a_password_does_not_show_it(tmp_path: Path, place: str, verbosity: str) -> None:
    host = Host(tmp_path, WAYS[PLACES.index(place)](tmp_path))
    known = [ANN, BEN] if place == "cli._directory" else list(PASSWORDS.values())  # what has been read by then
    code = _CRASH.format(place=place, secrets=known)
    with Pool() as pool:
        where = ["--connect", "127.0.0.1:9"] if place == "plugin.tls_context" else at(pool.server.port)
        ran = host.run(*where, "--ldap-uri", "ldaps://127.0.0.1:9", verbosity, code=code)
    assert ran.result.code == 3
    assert ran.result.stdout.startswith("LYNC PRESENCE UNKNOWN - internal error, please report it: RuntimeError")
    assert "***" in ran.result.stdout
    assert ("Traceback" in ran.result.stdout) == (verbosity != "-v0")
    assert shows(ran) == []


def test_an_error_in_the_question_to_the_directory_does_not_show_the_password(tmp_path: Path) -> None:
    host = Host(tmp_path, in_the_environment(tmp_path))
    code = _CRASH.format(place="directory._user_filter", secrets=list(PASSWORDS.values()))
    with directory.TinyDirectory() as server, Unknown() as pool:
        where = ["--ldap-uri", server.uri, "--ldap-base", directory.BASE]
        ran = host.run(*at(pool.server.port), *where, "-vvv", code=code)
    assert ran.result.code == 2
    assert "no usable answer (RuntimeError)" in ran.result.stdout
    assert shows(ran) == []


# ---------------------------------------------------------- mistakes of the user's

WRONG: Dict[str, Sequence[str]] = {
    "an option that there is not": ["--publisher-password", ANN],
    "the same with an equals sign": [f"--publisher-password={ANN}"],
    "one that is nearly an option": [f"--ldap-password={LDAP}"],
    "a password in an address": ["--publisher", f"sip:ann:{ANN}@contoso.example"],
    "the same without a scheme": ["--subscriber", f"ben:{BEN}@contoso.example"],
    "a password in a URI": ["--ldap-uri", f"ldaps://reader:{LDAP}@dc01.contoso.example"],
    "a range": ["--warning", "x"],
    "a file that is not there": ["--publisher-password-file", "/nowhere/secret"],
    "a folder": ["--publisher-password-file", "/"],
    "a CA that is none": ["--ca-file", "/dev/null"],
    "another pool": ["-H", "pool09.contoso.example"],
}


@pytest.mark.parametrize("wrong", WRONG)
def test_bad_usage_shows_no_password(tmp_path: Path, wrong: str) -> None:
    index = list(WRONG).index(wrong)
    ran = Host(tmp_path, WAYS[index % len(WAYS)](tmp_path)).run(*WRONG[wrong], "-vvv")
    assert (ran.result.code, ran.result.stdout.count("\n")) == (3, 1), ran.result.stdout
    assert "internal error" not in ran.result.stdout
    assert shows(ran) == []


FILES = {
    "no INI": f"{ANN}\n",
    "no section": f"publisher_password = {ANN}\n",
    "a line that is nothing": f"[{POOL}]\n{ANN}\n",
    "a colon for the equals sign": f"[{POOL}]\npublisher_password: {ANN}\n",
    "a key that is nearly one": f"[{POOL}]\npublisher_pasword = {ANN}\n",
    "a key twice": f"[{POOL}]\npublisher_password = {ANN}\npublisher_password = {BEN}\n",
    "a password and no user": f"[{POOL}]\npublisher_password = {ANN}\n",
    "a password on two lines": f"[{POOL}]\n{USERS}publisher_password = {ANN}\n  {BEN}\nsubscriber_password = {BEN}\n",
    "a password in an address": f"[{POOL}]\npublisher = sip:ann:{ANN}@contoso.example\n",
    "a password in a URI": f"[{POOL}]\n{USERS}ldap_uri = ldap://reader:{LDAP}@dc01.contoso.example\n"
    f"publisher_password = {ANN}\nsubscriber_password = {BEN}\n",
}


@pytest.mark.parametrize("mode", [0o600, 0o644])
@pytest.mark.parametrize("file", FILES)
def test_a_bad_accounts_file_shows_no_password(tmp_path: Path, file: str, mode: int) -> None:
    host = Host(tmp_path, Given([], [], {}, ""))
    path = Path(private(tmp_path / "bad.ini", FILES[file]))
    path.chmod(mode)
    ran = host.run("--accounts", str(path), "-vvv", "--connect", "127.0.0.1:9", "--transport", "tcp")
    assert ran.result.code == (2 if (file, mode) == ("a password on two lines", 0o600) else 3), ran.result.stdout
    assert "internal error" not in ran.result.stdout
    assert shows(ran) == []


# ----------------------------------------------- private keys and keytabs

RECORDED = ["--trace", "run.jsonl", "--report", "run.html"]
NOBODY = Given([], [], {}, "")


def of_private_key(pem: str) -> Iterator[bytes]:
    """The lines of a private key however it is written down, its octets, and the numbers that are secret in it."""
    key: Any = serialization.load_pem_private_key(pem.encode(), None)
    both = serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL
    for form in both:
        written = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
        lines = [line for line in written.split(b"\n") if line and b"-----" not in line]
        yield from lines
        yield from forms(b64decode(b"".join(lines)))
    numbers = key.private_numbers()
    for name in ("private_value", "d", "p", "q"):
        number = getattr(numbers, name, None)
        if number is not None:
            yield str(number).encode()
            yield from forms(number.to_bytes((number.bit_length() + 7) // 8, "big"))


def only_key(pem: str) -> str:
    """The private key out of a PEM text."""
    found = re.search("-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----\n", pem, re.DOTALL)
    assert found is not None
    return found.group()


class Pki(NamedTuple):
    """A pool that issues certificates to its users and trusts the servers of a CA; `ann` and `ben` are what it has
    issued, `server` is the certificate of a server, `stranger` that of another CA's. All are PEM with their keys.
    """

    simulator: Simulator
    trusting: Simulator
    ann: str
    ben: str
    server: str
    stranger: str

    def secrets(self, *more: str) -> List[bytes]:
        pems = (self.ann, self.ben, self.server, self.stranger, *more)
        return [secret for pem in pems for secret in of_private_key(only_key(pem))]


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pki]:
    pytest.importorskip("OpenSSL", reason="comes with pip install 'check_lync_presence[tls-dsk]'")
    folder = tmp_path_factory.mktemp("pki")
    host = Host(folder, in_the_accounts_file(folder))
    ours, others = trustme.CA(), trustme.CA()
    (folder / "ca.pem").write_bytes(ours.cert_pem.bytes())
    server, stranger = (
        ca.issue_cert("app01.contoso.example").private_key_and_cert_chain_pem.bytes().decode() for ca in (ours, others)
    )
    accounts = folder / "accounts.ini"
    with (
        Simulator(accounts, "--tls", "0", "--offer", "tls-dsk") as simulator,
        Simulator(accounts, "--tls", "0", "--trust-client-ca", str(folder / "ca.pem")) as trusting,
    ):
        assert isinstance(simulator, Simulator)
        assert isinstance(trusting, Simulator)
        assert host.run(*over_tls(simulator), "--auth", "tls-dsk").result.code == 0
        kept = [path.read_text() for path in host.state.glob("certificate-*.pem")]
        ann, ben = sorted(kept, key=subject)
        yield Pki(simulator, trusting, ann, ben, server, stranger)


def subject(pem: str) -> str:
    from check_lync_presence.user_certificates import from_pem

    return from_pem(pem.encode(), pem.encode()).subject


def over_tls(simulator: Simulator) -> List[str]:
    return ["--connect", f"127.0.0.1:{simulator.tls}", "--ca-file", simulator.ready["ca_file"]]


def locked(pem: str) -> str:
    """A PEM text whose key calls itself encrypted."""
    return pem.replace("BEGIN PRIVATE", "BEGIN ENCRYPTED PRIVATE")


def damaged(pem: str) -> str:
    """A PEM text whose key has lost its third line."""
    lines = only_key(pem).splitlines(True)
    return pem.replace(only_key(pem), "".join(lines[:2] + lines[3:]))


# What the publisher shows, made of the certificates of ann and of ben, the exit code, and what is said of it.
SHOWN: Dict[str, Tuple[Callable[[str, str], str], int, str]] = {
    "her certificate": (lambda ann, ben: ann, 0, "reached"),
    "that of another user": (lambda ann, ben: ben, 2, "ben@contoso.example"),
    "that of another CA": (lambda ann, ben: made(30), 2, "Certificate refused"),
    "one that has expired": (lambda ann, ben: made(-1), 3, "expired on"),
    "the key of another": (lambda ann, ben: ann.replace(only_key(ann), only_key(ben)), 3, "do not belong together"),
    "a damaged key": (lambda ann, ben: damaged(ann), 3, "no private key in PEM format"),
    "a key that calls itself encrypted": (
        lambda ann, ben: ann.replace("BEGIN PRIV", "BEGIN ENCRYPTED PRIV"),
        3,
        "is encrypted",
    ),
    "a key alone": (lambda ann, ben: only_key(ann), 3, "no certificate in PEM format"),
}


def at_verbosities(scenes: Mapping[str, Tuple[Any, int, str]]) -> List[Tuple[str, str]]:
    """Every scene at every verbosity; those of bad usage, which say one line at each of them, at the highest."""
    every = "-v0", "-v", "-vv", "-vvv"
    return [(name, item) for name, (_, code, _) in scenes.items() for item in every if code != 3 or item == "-vvv"]


def made(days: int) -> str:
    certificate = user_certificate("ann@contoso.example", days)
    return certificate.certificate + certificate.key.reveal()


@pytest.mark.parametrize(("shown", "verbosity"), at_verbosities(SHOWN))
def test_the_key_of_a_user_certificate_is_not_shown(tmp_path: Path, pki: Pki, shown: str, verbosity: str) -> None:
    make, code, words = SHOWN[shown]
    ann = make(pki.ann, pki.ben)
    files = [private(tmp_path / f"{name}.pem", text) for name, text in (("ann", ann), ("ben", pki.ben))]
    host = Host(tmp_path, Given([f"publisher_cert = {files[0]}", f"subscriber_cert = {files[1]}"], [], {}, ""))
    ran = host.run(*over_tls(pki.simulator), "--auth", "tls-dsk", *RECORDED, verbosity)
    assert ran.result.code == code, ran.result.stdout
    assert words in ran.result.stdout
    assert (b"work/run.jsonl" in ran.left) == (b"work/run.html" in ran.left) == (code != 3)
    more = [ann] if shown.startswith(("that of another CA", "one that")) else []
    assert shows(ran, *pki.secrets(*more)) == []


# The same for the certificate of a trusted server: its certificate, and one of a CA that the pool does not know.
CLIENTS: Dict[str, Tuple[Callable[[str, str], str], int, str]] = {
    "its certificate": (lambda server, stranger: server, 0, "reached"),
    "that of another CA": (lambda server, stranger: stranger, 2, "CRITICAL"),
    "the key of another": (lambda server, other: server.replace(only_key(server), only_key(other)), 3, "cannot use"),
    "a damaged key": (lambda server, stranger: damaged(server), 3, "cannot use"),
    "a key alone": (lambda server, stranger: only_key(server), 3, "cannot use"),
}


@pytest.mark.parametrize(("shown", "verbosity"), at_verbosities(CLIENTS))
def test_the_key_of_the_client_certificate_is_not_shown(tmp_path: Path, pki: Pki, shown: str, verbosity: str) -> None:
    make, code, words = CLIENTS[shown]
    file = private(tmp_path / "app.pem", make(pki.server, pki.stranger))
    host = Host(tmp_path, NOBODY)
    ran = host.run(*over_tls(pki.trusting), "--auth", "trusted-server", "--client-cert", file, *RECORDED, verbosity)
    assert ran.result.code == code, ran.result.stdout
    assert words in ran.result.stdout
    assert (b"work/run.jsonl" in ran.left) == (b"work/run.html" in ran.left) == (code != 3)
    assert shows(ran, *pki.secrets()) == []


KEY = b"Schluessel-of-ann-4714-32-octets"  # of AES-256


def keytab(user: str = "ann", realm: str = REALM) -> bytes:
    """A keytab (format 5.2) with one key of a user."""

    def counted(octets: bytes) -> bytes:
        return struct.pack(">H", len(octets)) + octets

    name = struct.pack(">H", 1) + counted(realm.encode()) + counted(user.encode()) + struct.pack(">I", 1)
    entry = name + struct.pack(">IBH", 1700000000, 3, 18) + counted(KEY)
    return b"\5\2" + struct.pack(">i", len(entry)) + entry


def of_keytab(octets: bytes) -> List[bytes]:
    """The key as raw octets, hexadecimal and base64 (however it is aligned), and what the keytab is known by."""
    aligned = [b64encode(bytes(shift) + KEY)[4:-4] for shift in range(3)]
    return [*forms(KEY), *aligned, *forms(octets), *forms(hashlib.sha256(octets).digest())]


class Tickets(TinyPool):
    """Wants a ticket."""

    def on_first_register(self, session: Session, request: Request) -> None:
        self.challenge(session, request, f'Kerberos realm="{tiny_pool.REALM}", targetname="sip/{POOL}", version=4')


# What is made of the keytab of each user, and what is said of it where no KDC answers.
KEYTABS: Dict[str, Tuple[Callable[[str], bytes], int, str]] = {
    "his own": (keytab, 2, f"no KDC of {REALM} answers"),
    "that of another user": (lambda user: keytab("eve"), 3, "has no key of "),
    "one that ends in its key": (lambda user: keytab(user)[:-4], 3, "has no key of "),
    "one with octets behind it": (lambda user: keytab(user) + KEY, 2, "Kerberos: "),
}


@pytest.mark.parametrize(("given", "verbosity"), at_verbosities(KEYTABS))
def test_the_keys_of_a_keytab_are_not_shown_where_there_is_no_ticket(
    tmp_path: Path, given: str, verbosity: str
) -> None:
    make, code, words = KEYTABS[given]
    octets = {"publisher": make("ann"), "subscriber": make("ben")}
    lines = [f"{role}_keytab = {private_octets(tmp_path / role, made)}" for role, made in octets.items()]
    host = Host(tmp_path, Given(lines, [], {}, ""))
    with socket.socket() as closed, Tickets() as pool:  # bound, and nobody listens
        closed.bind(("127.0.0.1", 0))
        modules = gssapi(tmp_path).get("PYTHONPATH", "")
        host.environment.update(configured(tmp_path, f"127.0.0.1:{closed.getsockname()[1]}"))
        host.environment["PYTHONPATH"] += f":{modules}" if modules else ""
        ran = host.run(*at(pool.server.port), "--auth", "kerberos", *RECORDED, verbosity)
    assert ran.result.code == code, ran.result.stdout
    assert words in ran.result.stdout
    assert code == 3 or b"work/run.jsonl" in ran.left
    assert shows(ran, *(secret for made in octets.values() for secret in of_keytab(made))) == []


def private_octets(path: Path, octets: bytes) -> str:
    path.touch(mode=0o600)
    path.write_bytes(octets)
    return str(path)


MISTAKEN = (
    "--publisher-keytab",
    "--publisher-cert",
    "--publisher-key",
    "--client-cert",
    "--ca-file",
    "--accounts",
    "--replay",
)


@pytest.mark.parametrize("kind", ["keytab", "key"])
@pytest.mark.parametrize("option", MISTAKEN)
def test_a_key_in_the_place_of_another_file_is_not_shown(tmp_path: Path, pki: Pki, option: str, kind: str) -> None:
    octets = keytab()[2:] if kind == "keytab" else only_key(pki.ann).encode()
    path = private_octets(tmp_path / "mistaken", octets)
    host = Host(tmp_path, in_the_accounts_file(tmp_path))
    arguments = [option, path]
    if option == "--replay":
        host.arguments = []
    elif option == "--publisher-key":
        arguments += ["--publisher-cert", private(tmp_path / "ann.pem", pki.ben)]
    ran = host.run(*arguments, "-vvv")
    assert (ran.result.code, ran.result.stdout.count("\n")) == (3, 1), ran.result.stdout
    assert "internal error" not in ran.result.stdout
    assert shows(ran, *of_keytab(octets), *pki.secrets()) == []


@pytest.mark.parametrize("verbosity", ["-v0", "-vvv"])
def test_an_error_of_ours_that_holds_a_private_key_does_not_show_it(tmp_path: Path, pki: Pki, verbosity: str) -> None:
    file = private(tmp_path / "ann.pem", pki.ann)
    code = _CRASH.format(place="user_certificates.from_pem", secrets=[pki.ann])
    ran = Host(tmp_path, in_the_accounts_file(tmp_path)).run("--publisher-cert", file, verbosity, code=code)
    assert ran.result.code == 3
    assert ran.result.stdout.startswith("LYNC PRESENCE UNKNOWN - internal error, please report it: RuntimeError")
    assert shows(ran, *pki.secrets()) == []


# --------------------------------------------------------- what others can see


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_check_that_is_under_way_has_no_password_in_its_command_line_and_none_when_it_is_stopped(
    tmp_path: Path, way: Way
) -> None:
    host = Host(tmp_path, way(tmp_path))
    with Mute() as pool:
        where = ["--connect", f"127.0.0.1:{pool.server.port}", "--transport", "tcp"]
        process = host.start(*where, "-vvv", "--ldap-uri", "ldaps://127.0.0.1:9")
        assert process.stdin is not None
        process.stdin.write(host.given.stdin)
        process.stdin.flush()
        assert pool.waiting.wait(30)
        command_line = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        limits = Path(f"/proc/{process.pid}/limits").read_text(encoding="utf-8")
        process.send_signal(signal.SIGTERM)
        ran = host.end(process)
    assert ran.result.code == 2
    assert "SIGTERM" in ran.result.stdout
    assert [secret for secret in of_passwords() if secret in command_line] == []
    assert re.search(r"^Max core file size +0 ", limits, re.MULTILINE)
    assert shows(ran, *of_messages(pool.received), *pool.keys) == []


def test_a_password_command_is_not_told_the_passwords_of_others(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    secret = private(tmp_path / "secret", ANN)
    given = Given(
        [f"publisher_password_command = sh -c 'env > {seen}; cat {secret}'"],
        [],
        {"SUBSCRIBER_PASSWORD": BEN, "LDAP_PASSWORD": LDAP, "VAULT_ADDR": "https://vault.contoso.example"},
        "",
    )
    with Pool() as pool:
        assert Host(tmp_path, given).run(*at(pool.server.port)).result.code == 0
    told = seen.read_text()
    assert "VAULT_ADDR=https://vault.contoso.example\n" in told
    assert BEN not in told
    assert LDAP not in told


def test_a_password_command_that_prints_without_an_end_fills_no_memory(tmp_path: Path) -> None:
    given = Given(["publisher_password_command = yes", "subscriber_password = x"], [], {}, "")
    code = (  # the peak of this very program: what getrusage tells counts from that of whoever has started it
        "from check_lync_presence.cli import main\n"
        "try: main()\n"
        "finally: print([line for line in open('/proc/self/status') if 'VmHWM' in line][0].split()[1])\n"
    )
    ran = Host(tmp_path, given).run("--timeout", "2", code=code)
    assert "publisher_password_command gave no password: it did not end within 1 s" in ran.result.stdout
    assert int(ran.result.lines[-1]) < 96 * 1024
