from __future__ import annotations

import copy
import os
import pickle
import tempfile
from pathlib import Path
from typing import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from check_lync_presence.settings import (
    MAX_FILE,
    ORDINARY_UID,
    Account,
    AccountsFile,
    Secret,
    Settings,
    SettingsError,
    Thresholds,
    TlsSettings,
    read_accounts_file,
    read_private_file,
    sip_address,
)

from .strategies import few, made_of, many

PASSWORD = "Passw0rd!Ann"
POOL = f"""\
[pool01.contoso.example]
publisher = sip:ann@contoso.example
publisher-user = CONTOSO\\ann
publisher-password = {PASSWORD}
"""

Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(content: str | bytes, mode: int = 0o600) -> str:
        path = tmp_path / "accounts.ini"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        path.chmod(mode)
        return str(path)

    return write


def read(path: str) -> AccountsFile:
    return read_accounts_file(path)


def section(path: str, name: str = "pool01.contoso.example") -> dict[str, str]:
    keys = read(path).section(name)
    assert keys is not None
    return keys


def refuse(path: str) -> str:
    with pytest.raises(SettingsError) as caught:
        read(path)
    message = str(caught.value)
    assert path in message
    assert PASSWORD not in message
    assert PASSWORD not in repr(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return message


# ------------------------------------------------------------------ permissions


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o400, 0o440])
def test_a_file_that_others_cannot_read_is_read(write: Write, mode: int) -> None:
    assert section(write(POOL, mode))["publisher-password"] == PASSWORD


@pytest.mark.parametrize(
    ("mode", "wanted"),
    [
        (0o644, "0640"),
        (0o604, "0600"),
        (0o660, "0640"),
        (0o666, "0640"),
        (0o700, "0600"),
        (0o750, "0640"),
        (0o601, "0600"),
        (0o602, "0600"),
        (0o620, "0600"),
        (0o444, "0440"),
        (0o4600, "0600"),
    ],
)
def test_a_file_that_others_may_use_is_refused_with_its_mode_and_the_remedy(
    write: Write, mode: int, wanted: str
) -> None:
    path = write(POOL, mode)
    message = refuse(path)
    assert f"has mode {mode:04o}" in message
    assert message.endswith(f"chmod {wanted} {path}")


def test_the_remedy_works(write: Write) -> None:
    path = write(POOL, 0o777)
    mode = int(refuse(path).split()[-2], 8)
    os.chmod(path, mode)
    assert section(path)["publisher-password"] == PASSWORD


def test_the_permissions_are_those_of_the_file_behind_a_link(write: Write, tmp_path: Path) -> None:
    link = tmp_path / "link.ini"
    link.symlink_to(write(POOL))
    assert section(str(link))["publisher-password"] == PASSWORD
    os.chmod(link, 0o644)
    assert "mode 0644" in refuse(str(link))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_person_is_refused_with_the_remedy(write: Write) -> None:
    path = write(POOL)
    os.chown(path, ORDINARY_UID + 234, -1)
    message = refuse(path)
    assert f"uid {ORDINARY_UID + 234}" in message
    assert message.endswith(f"chown root {path}")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_a_service_is_read(write: Write) -> None:
    path = write(POOL)
    os.chown(path, ORDINARY_UID - 1, -1)
    assert section(path)["publisher-password"] == PASSWORD


def test_any_file_of_secrets_is_named_by_what_it_is(write: Write) -> None:
    path = write("secret", 0o644)
    with pytest.raises(SettingsError, match=f"^the password file {path} has mode 0644"):
        read_private_file(path, "password file")
    os.chmod(path, 0o600)
    assert read_private_file(path, "password file") == "secret"


# ------------------------------------------------------------------ what is no accounts file


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    message = refuse(str(tmp_path / "missing.ini"))
    assert message.startswith("cannot read the accounts file")
    assert message.endswith(os.strerror(2))


def test_a_directory_is_refused(tmp_path: Path) -> None:
    assert refuse(str(tmp_path)).startswith("cannot read the accounts file")


def test_a_device_is_refused() -> None:
    assert "not a regular file" in refuse("/dev/null")


def test_a_pipe_that_nobody_writes_to_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    assert "not a regular file" in refuse(str(tmp_path / "pipe"))


@pytest.mark.parametrize(
    "content", [b"\xff\xfe[\0p\0]\0", POOL.encode("utf-16"), b"[p]\npassword = J\xf6rg " + PASSWORD.encode()]
)
def test_a_file_that_is_not_utf_8_is_refused(write: Write, content: bytes) -> None:
    assert refuse(write(content)).endswith("save it as UTF-8")


def test_a_file_that_is_too_large_is_refused(write: Write) -> None:
    start = f"[pool01.contoso.example]\npassword = {PASSWORD}\n"
    filling = "#" * (MAX_FILE - len(start))
    assert section(write(start + filling))["password"] == PASSWORD
    assert "larger than 1024 KiB" in refuse(write(start + filling + "#"))


# ------------------------------------------------------------------ the form of the file


def test_a_section_that_stands_there_twice_is_refused_by_name_and_line(write: Write) -> None:
    assert "line 5: the section [pool01.contoso.example] stands there twice" in refuse(write(POOL + POOL))


def test_a_key_that_stands_there_twice_is_refused_by_name_and_line(write: Write) -> None:
    message = refuse(write(POOL + f"Publisher-Password = {PASSWORD}2\n"))
    assert "line 5: publisher-password stands twice in [pool01.contoso.example]" in message


@pytest.mark.parametrize("before", ["", "# a comment\n\n", "; a comment\n\n"])
def test_a_line_before_the_first_section_is_refused_by_its_number(write: Write, before: str) -> None:
    line = before.count("\n") + 1
    assert f"line {line}: a line before the first [section]" in refuse(
        write(f"{before}publisher-password = {PASSWORD}\n")
    )


@pytest.mark.parametrize(
    "line", [PASSWORD, f"publisher-password {PASSWORD}", f"publisher-password: {PASSWORD}", f"= {PASSWORD}"]
)
def test_a_line_that_is_no_setting_is_refused_by_its_number_and_not_quoted(write: Write, line: str) -> None:
    assert "line 5: neither [section] nor name = value" in refuse(write(f"{POOL}{line}\n"))


def test_a_bracket_that_is_not_closed_is_not_quoted(write: Write) -> None:
    assert "line 1" in refuse(write(f"[{PASSWORD}\n"))
    assert "line 5" in refuse(write(f"{POOL}[{PASSWORD}\n"))


def test_a_comment_begins_a_line_or_stands_behind_a_blank(write: Write) -> None:
    keys = section(
        write("[pool01.contoso.example]\n# a = b\n; c = d\nuser = ann ; the publisher\nport = 5061\t; TLS\n")
    )
    assert keys == {"user": "ann", "port": "5061"}


@pytest.mark.parametrize(
    "password",
    [
        "a;b", ";", "a#b", "a #b", "#", "%", "100%", "%(user)s", "%%", "a=b", "=", "a:b", "[a]", '"a"', "'a'", "\\n",
        "ä€", "a  b", "${x}",
    ],
)  # fmt: skip
def test_a_password_is_taken_as_it_stands(write: Write, password: str) -> None:
    keys = section(write(f"[pool01.contoso.example]\nuser = ann\npassword={password}\n"))
    assert keys == {"user": "ann", "password": password}


def test_keys_have_no_case_and_blanks_around_them_do_not_count(write: Write) -> None:
    assert section(write("[pool01.contoso.example]\nPublisher-User   =   CONTOSO\\Ann  \n")) == {
        "publisher-user": "CONTOSO\\Ann"
    }


def test_keys_may_be_indented(write: Write) -> None:
    keys = section(write("[pool01.contoso.example]\n  user = ann\n  password = x\n"))
    assert keys == {"user": "ann", "password": "x"}


@pytest.mark.parametrize("start", ["\ufeff", "\r\n", "\n\n"])
def test_a_byte_order_mark_or_empty_lines_may_stand_at_the_beginning(write: Write, start: str) -> None:
    assert section(write(start + POOL))["publisher-password"] == PASSWORD


def test_lines_may_end_as_windows_ends_them(write: Write) -> None:
    assert section(write(POOL.replace("\n", "\r\n")))["publisher-password"] == PASSWORD


def test_an_empty_file_has_no_sections(write: Write) -> None:
    path = write("")
    assert read(path) == AccountsFile(path, {}, {})


# ------------------------------------------------------------------ sections


@pytest.mark.parametrize("target", ["pool01.contoso.example", "POOL01.Contoso.Example", "pool01.contoso.example."])
def test_a_section_is_found_without_regard_to_case_and_final_dot(write: Write, target: str) -> None:
    assert section(write(POOL), target)["publisher"] == "sip:ann@contoso.example"
    assert (
        section(write(POOL.replace("[pool01.contoso.example]", f"[{target}]")))["publisher"]
        == "sip:ann@contoso.example"
    )


@pytest.mark.parametrize("target", ["", "pool01", "pool02.contoso.example", "DEFAULT", "default"])
def test_a_section_that_is_not_there_is_not_found(write: Write, target: str) -> None:
    assert read(write(POOL)).section(target) is None


@pytest.mark.parametrize("name", ["2001:db8::5", "[2001:DB8::5]"])
@pytest.mark.parametrize("target", ["2001:db8::5", "[2001:db8::5]"])
def test_a_section_of_an_ipv6_address_is_found_with_and_without_brackets(write: Write, name: str, target: str) -> None:
    assert section(write(f"[{name}]\nuser = ann\n"), target) == {"user": "ann"}


@pytest.mark.parametrize("other", ["POOL01.contoso.example", "pool01.contoso.example."])
def test_a_pool_that_has_two_sections_is_refused_with_their_names(write: Write, other: str) -> None:
    assert refuse(write(POOL + f"[{other}]\npublisher-password = {PASSWORD}\n")).endswith(
        f"is not valid: [pool01.contoso.example] and [{other}] are the same pool"
    )


def test_defaults_stand_behind_every_section(write: Write) -> None:
    path = write("[DEFAULT]\ntimeout = 20\nuser = ben\n[a]\nuser = ann\n[b]\n")
    accounts = read(path)
    assert accounts.section("a") == {"timeout": "20", "user": "ann"}
    assert accounts.section("b") == {"timeout": "20", "user": "ben"}
    assert accounts.section("DEFAULT") is None
    assert accounts.defaults == {"timeout": "20", "user": "ben"}
    assert accounts.path == path


ini_text = made_of(
    "[a]\n", "[DEFAULT]\n", "[", "]", "key", "Key", " = ", "=", ":", "\n", "\r", " ", "\t", ";", " ; x", "#", "%(x)s",
    "$", "\ufeff", "\0", "\x85", "\u2028",
)  # fmt: skip


@few
@given(ini_text.map(lambda text: text.encode("utf-8", "surrogateescape")) | st.binary(max_size=60))
def test_any_octets_are_an_accounts_file_or_a_settings_error(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "accounts.ini")
        with open(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600), "wb") as file:
            file.write(content)
        try:
            accounts = read(path)
        except SettingsError:
            return
    for name, keys in accounts.sections.items():
        assert accounts.section(name) is not None
        assert all(key == key.lower() and isinstance(value, str) for key, value in keys.items())


words = st.text(
    st.characters(codec="utf-8", exclude_categories=("Zs", "Zl", "Zp", "Cc"), exclude_characters=";#"), min_size=1
)


@few
@given(st.dictionaries(st.text("abcdefghijklmnopqrstuvwxyz_-", min_size=1), words, max_size=5))
def test_an_accounts_file_says_what_was_written_into_it(keys: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "accounts.ini")
        with open(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600), "w", encoding="utf-8") as file:
            file.write("[a]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items()))
        assert read(path).section("a") == keys


# ------------------------------------------------------------------ addresses


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("ann@contoso.example", "sip:ann@contoso.example"),
        ("sip:ann@contoso.example", "sip:ann@contoso.example"),
        ("SIP:Ann@Contoso.Example", "sip:Ann@Contoso.Example"),
        ("sips:ann@contoso.example", "sips:ann@contoso.example"),
        (" sip:ann@contoso.example ", "sip:ann@contoso.example"),
        ("sip:o'neil+x@contoso.example", "sip:o'neil+x@contoso.example"),
        ("sip:ann@[2001:db8::1]", "sip:ann@[2001:db8::1]"),
    ],
)
def test_an_address_is_a_user_at_a_domain(text: str, uri: str) -> None:
    assert sip_address(text) == uri


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ann",
        "contoso.example",
        "sip:contoso.example",
        "@contoso.example",
        "ann@",
        "ann@contoso.example:5061",
        "sip:ann@contoso.example;transport=tls",
        "tel:+15550100",
        "http://ann@contoso.example",
        "ann smith@contoso.example",
        "<sip:ann@contoso.example>",
        "CONTOSO\\ann",
    ],
)
def test_what_is_no_address_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        sip_address(text)
    assert repr(text) in str(caught.value)
    assert "sip:ann@contoso.example" in str(caught.value)


@pytest.mark.parametrize("text", ["sip:ann:geheim@contoso.example", "ann:geheim@contoso.example", "<sip:ann:geheim@x>"])
def test_a_password_in_an_address_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        sip_address(text)
    assert "geheim" not in str(caught.value)
    assert "sip:ann@contoso.example" in str(caught.value)


@many
@given(st.text(max_size=20) | st.text("ans@:;.[]? <>", max_size=12))
def test_any_text_is_an_address_or_a_settings_error(text: str) -> None:
    try:
        uri = sip_address(text)
    except SettingsError:
        return
    assert sip_address(uri) == uri


def test_an_account_knows_its_address_and_its_domain() -> None:
    account = Account("sip:ann@contoso.example", "CONTOSO\\ann", Secret(PASSWORD))
    assert (account.address, account.domain) == ("ann@contoso.example", "contoso.example")


# ------------------------------------------------------------------ secrets


def test_a_secret_is_revealed_to_who_asks_for_it() -> None:
    assert Secret(PASSWORD).reveal() == PASSWORD


@pytest.mark.parametrize(
    "show",
    [
        repr,
        str,
        format,
        "{}".format,
        "{!r:>20}".format,
        "{0}{0!s}{0!a}".format,
        lambda secret: f"{secret}{secret!r}",
        lambda secret: "%s %r %a" % (secret, secret, secret),  # noqa: UP031
        lambda secret: str([secret, {secret: secret}, (secret,)]),
        lambda secret: repr(Account("sip:a@b", "a", secret)),
        lambda secret: str(ValueError(secret)),
    ],
)
def test_a_secret_shows_nowhere(show: Callable[[Secret], str]) -> None:
    shown = show(Secret(PASSWORD))
    assert PASSWORD not in shown
    assert "***" in shown


def test_the_settings_of_a_run_show_no_password() -> None:
    ann = Account("sip:ann@contoso.example", "CONTOSO\\ann", Secret(PASSWORD))
    ben = Account("sip:ben@contoso.example", "CONTOSO\\ben", Secret("Passw0rd!Ben"))
    fields = {
        "target": "pool01.contoso.example",
        "publisher": ann,
        "subscriber": ben,
        "tls": TlsSettings(),
        "thresholds": Thresholds({}, {}),
    }
    settings = Settings(**{name: fields.get(name) for name in Settings._fields})  # type: ignore[arg-type]
    assert "Passw0rd" not in repr(settings) + str(settings) + str(settings._asdict())
    assert settings.secrets == (PASSWORD, "Passw0rd!Ben")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_secret_is_not_pickled(protocol: int) -> None:
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(Secret(PASSWORD), protocol)


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_a_secret_is_not_copied(duplicate: Callable[[Secret], Secret]) -> None:
    with pytest.raises(TypeError, match="not pickled"):
        duplicate(Secret(PASSWORD))


def test_a_secret_has_no_other_attributes() -> None:
    with pytest.raises(AttributeError):
        Secret(PASSWORD).note = "x"  # type: ignore[attr-defined]
    with pytest.raises(TypeError):
        vars(Secret(PASSWORD))


def test_an_empty_secret_is_false() -> None:
    assert not Secret("")
    assert Secret(" ")
