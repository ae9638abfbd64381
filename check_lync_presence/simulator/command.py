"""``lync-presence-simulator``: the command line.

The only reader of argv. Prints one JSON line when it is ready, one for every SIGUSR1, and one plain line with exit
status 3 when it cannot do what it was told.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import os
import random
import signal
import ssl
import sys
import tempfile
import time
from typing import TYPE_CHECKING, Any, Dict, List, NoReturn, Optional, Sequence, Set, Tuple

from .. import __version__
from ..lync.kerberos import gss_api
from ..settings import AccountsFile, SettingsError, pool_name, read_accounts_file
from ..stdout import patient
from ..user_certificates import require_extra
from . import frontend, pool, simple
from .accounts import users_of
from .authenticator import EVERYTHING, SCHEMES, Offer
from .certificates import Identity, MissingExtra, issue, load
from .faults import DIALECTS, LYNC, FaultError, Faults, bare, listing
from .server import FrontEnd, Server, Site

if TYPE_CHECKING:
    from .provisioning import ProvisioningService

LOOPBACK = "127.0.0.1"
CANNOT = 3  # UNKNOWN, as of the check itself
LONGEST_DELAY = 3600.0


class UsageError(Exception):
    """What was asked for cannot be done; the text says what to do."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see {self.prog} --help")


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run until SIGTERM or SIGINT. The exit status."""
    sys.stdout = patient(sys.stdout, sys.stderr)
    try:
        options = _parser().parse_args(argv)
        if options.list_faults:
            print(listing())
            return 0
        return _run(options)
    except MissingExtra as error:
        needed = "install python3-trustme, or with the check's own pip: pip install 'check_lync_presence[simulator]'"
        return _cannot(f"the package {error} is missing for TLS certificates; {needed}")
    except (UsageError, SettingsError, FaultError) as error:
        return _cannot(str(error))


def _cannot(text: str) -> int:
    print("lync-presence-simulator: " + " ".join(text.split()))
    return CANNOT


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="lync-presence-simulator",
        description="A Lync or SIMPLE server in one process, for demonstrations, alarm drills and tests.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--accounts", metavar="FILE", help="the users: the check's own accounts file")
    add("--dialect", choices=DIALECTS, default=LYNC, help="what the server speaks (default: %(default)s)")
    add("--tls", metavar="PORT", type=_port, help="listen with TLS; 0 takes a free port (default without the others)")
    add("--tcp", metavar="PORT", type=_port, help="listen without TLS; 0 takes a free port")
    add("--udp", metavar="PORT", type=_port, help="listen for datagrams, with --dialect simple; 0 takes a free port")
    add(
        "--listen",
        metavar="ADDRESS",
        action="append",
        default=[],
        help=f"where a front end listens; repeatable, all of them are one pool; default: {LOOPBACK}, this machine only",
    )
    add(
        "--fault",
        metavar="NAME[=VALUE][@ADDRESS]",
        action="append",
        default=[],
        help="misbehave, at one front end only if its address is given; repeatable, see --list-faults",
    )
    add("--delay", metavar="S", type=_seconds, default=0.0, help="every answer takes S seconds")
    add("--seed", metavar="N", type=int, help="the same random numbers in every run")
    add("--ca-out", metavar="FILE", help="where to write the certificate of the CA (default: a temporary file)")
    add("--cert", metavar="FILE", help="a certificate to use, in place of a throw-away one")
    add("--key", metavar="FILE", help="its private key")
    add(
        "--offer",
        metavar="LIST",
        type=_schemes,
        help="how users can sign in, as kerberos,ntlm,tls-dsk; default: all, but certificates are given out only where "
        "tls-dsk is named",
    )
    add("--keytab", metavar="FILE", help="keytab with the key of sip/POOL, to accept Kerberos tickets")
    add("--trust-client-ca", metavar="FILE", help="the CA whose client certificates are those of trusted servers (TLS)")
    add("--list-faults", action="store_true", help="print the faults with what the check should say of each")
    add("-V", "--version", action="version", version=f"%(prog)s {__version__}")
    return parser


def _schemes(text: str) -> List[str]:
    given = text.lower().split(",")
    if not set(given) <= set(SCHEMES):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of {', '.join(SCHEMES)}")
    return given


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 65536):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= LONGEST_DELAY:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0 to {LONGEST_DELAY:.0f}")
    return value


def _run(options: argparse.Namespace) -> int:
    if not options.accounts:
        raise UsageError("--accounts FILE is missing; it names the users to serve")
    if options.udp is not None and options.dialect == LYNC:
        raise UsageError("Lync does not speak UDP; --udp goes with --dialect simple")
    if options.dialect != LYNC and (options.offer or options.keytab or options.trust_client_ca):
        raise UsageError("--offer, --keytab and --trust-client-ca are for Lync; leave out --dialect")
    if "kerberos" in (options.offer or ()) and not options.keytab:
        raise UsageError("--offer kerberos needs the key of the service: --keytab FILE")
    faults = Faults(options.fault, options.dialect)
    addresses = _addresses(options.listen, faults)
    offer = _offer(options, addresses[0]) if options.dialect == LYNC else EVERYTHING
    accounts = read_accounts_file(options.accounts)
    front_end, domains = _front_end(options, accounts, faults, offer)
    if options.tls is None and options.tcp is None and options.udp is None:
        options.tls = 0
    front_ends = [faults.at(address) for address in addresses]
    encrypted = options.tls is not None or offer.provisioning is not None
    names = {*map(pool_name, accounts.sections), *(f"sip.{domain}" for domain in domains), "localhost", LOOPBACK}
    identity = _identity(options, sorted(names), front_ends) if encrypted else None
    contexts = identity.contexts if identity is not None else (None,) * len(addresses)
    if options.trust_client_ca:
        _trust(contexts, options.trust_client_ca)
    if offer.provisioning is not None and identity is not None and isinstance(front_end, frontend.FrontEnd):
        rng = random.SystemRandom() if options.seed is None else random.Random(options.seed)
        offer.provisioning.start(front_end.pool, front_ends[0], offer.keytab, identity.contexts[0], rng)
    sites = [Site(*told) for told in zip(addresses, front_ends, contexts)]
    ca_file, temporary = _write_ca(options.ca_out, identity)
    try:
        asyncio.run(_serve(options, front_end, sites, ca_file, offer.provisioning))
    except OSError as error:
        raise UsageError(f"cannot listen on {', '.join(addresses)}: {error.strerror or error}") from None
    finally:
        if offer.provisioning is not None:
            offer.provisioning.stop()
        if temporary and ca_file:
            os.unlink(ca_file)
    return 0


def _trust(contexts: Sequence[Optional[ssl.SSLContext]], ca_file: str) -> None:
    """Ask clients for a certificate, which they may have or not."""
    for context in contexts:
        if context is None:
            raise UsageError("--trust-client-ca needs TLS; add --tls PORT")
        try:
            context.load_verify_locations(ca_file)
        except OSError as error:
            raise UsageError(f"cannot use {ca_file}: {error.strerror or error}") from None
        context.verify_mode = ssl.CERT_OPTIONAL


def _offer(options: argparse.Namespace, address: str) -> Offer:
    if options.keytab:
        gss_api()
        try:
            open(options.keytab, "rb").close()
        except OSError as error:
            raise UsageError(f"cannot read the keytab {options.keytab}: {error.strerror}") from None
    keytab = os.path.abspath(options.keytab) if options.keytab else ""
    return Offer(options.offer or SCHEMES, keytab, _provisioning(options, address))


def _provisioning(options: argparse.Namespace, address: str) -> Optional[ProvisioningService]:
    """What gives certificates to users, where TLS-DSK was asked for."""
    if "tls-dsk" not in (options.offer or ()):
        return None
    require_extra()
    from .provisioning import ProvisioningService
    from .user_ca import UserCa

    trusted = b""
    try:
        if options.trust_client_ca:
            with open(options.trust_client_ca, "rb") as file:
                trusted = file.read()
        return ProvisioningService(address, UserCa(trusted))
    except OSError as error:
        raise UsageError(f"cannot offer certificates to users at {address}: {error.strerror or error}") from None


def _front_end(
    options: argparse.Namespace, accounts: AccountsFile, faults: Faults, offer: Offer
) -> Tuple[FrontEnd, Set[str]]:
    """What speaks the dialect, and the SIP domains that it serves."""
    rng = random.SystemRandom() if options.seed is None else random.Random(options.seed)
    if options.dialect == LYNC:
        otherwise = options.keytab or options.trust_client_ca or offer.provisioning
        users = users_of(accounts, pool.User, passwords=not otherwise)
        return frontend.FrontEnd(users, faults, rng, time.time(), offer), {user.domain for user in users}
    people = users_of(accounts, simple.User)
    return simple.SimpleFrontEnd(people, rng), {user.domain for user in people}


def _addresses(given: Sequence[str], faults: Faults) -> List[str]:
    """Where the front ends listen."""
    addresses = [bare(address) for address in given or [LOOPBACK]]
    if len(set(addresses)) < len(addresses):
        raise UsageError("an address was given twice with --listen: every front end has its own")
    for place in faults.places:
        if place not in addresses:
            raise UsageError(f"a fault is limited to {place}, which is not among the addresses given with --listen")
    return addresses


def _identity(options: argparse.Namespace, names: Sequence[str], front_ends: Sequence[Faults]) -> Identity:
    if bool(options.cert) != bool(options.key):
        raise UsageError("--cert and --key belong together")
    if not options.cert:
        try:
            return issue(names, front_ends, datetime.datetime.now(datetime.timezone.utc))
        except ValueError as error:
            raise UsageError(f"a section's name or a SIP domain is none for a certificate: {error}") from None
    strikes = any("certificate-expired" in faults or "certificate-other-name" in faults for faults in front_ends)
    if strikes or options.ca_out:
        raise UsageError(
            "--ca-out and the certificate faults need the throw-away certificate; leave out --cert and --key"
        )
    try:
        return load(options.cert, options.key, len(front_ends))
    except OSError as error:
        raise UsageError(f"cannot use {options.cert} with {options.key}: {error.strerror or error}") from None


def _write_ca(path: Optional[str], identity: Optional[Identity]) -> tuple[Optional[str], bool]:
    """(file with the CA's certificate, whether it is a temporary one)."""
    if identity is None or identity.ca is None:
        return None, False
    try:
        if path:
            with open(path, "wb") as chosen:
                chosen.write(identity.ca)
            return os.path.abspath(path), False
        with tempfile.NamedTemporaryFile(prefix="lync-presence-simulator-", suffix=".pem", delete=False) as file:
            file.write(identity.ca)
        return file.name, True
    except OSError as error:
        raise UsageError(f"cannot write the certificate of the CA: {error}") from None


async def _serve(
    options: argparse.Namespace,
    front_end: FrontEnd,
    sites: Sequence[Site],
    ca_file: Optional[str],
    provisioning: Optional[ProvisioningService],
) -> None:
    server = Server(front_end, sites, options.delay)
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGUSR1, lambda: _say(server.census()))
    ports = await server.listen(options.tls, options.tcp, options.udp)
    https = provisioning.port if provisioning is not None else None
    ready: Dict[str, Any] = {"ready": True, **ports._asdict(), "https": https, "ca_file": ca_file}
    _say({key: value for key, value in ready.items() if value is not None})
    await stop.wait()
    server.close()


def _say(fact: Dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(fact) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
