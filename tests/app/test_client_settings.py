"""What mail programs are told: the files by which they find out are as they want them."""

from __future__ import annotations

import plistlib
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.app.client_settings import (
    FORMS,
    ClientSettingsError,
    answer,
    as_it_listens,
    client_settings,
)
from restante.app.config.load import load
from restante.app.config.settings import ClientsSection, Settings
from tests.app.conftest import Call
from tests.app.support import Server, write_config

ADDRESS = "joe@example.org"
SENDING = ClientsSection(hostname="mail.example.org", submission_host="smtp.example.org")
WITH_SENDING = Settings(clients=SENDING)


# Thunderbird's rules, written from what its reader of these files documents and refuses

_HOSTNAME = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
_SOCKETS = {"plain", "SSL", "STARTTLS"}
_INCOMING = {"password-cleartext", "password-encrypted", "GSSAPI", "NTLM", "OAuth2"}
_OUTGOING = _INCOMING | {"none", "client-IP-address", "smtp-after-pop"}


def read_as_thunderbird(data: bytes) -> dict[str, Any]:
    """The settings that Thunderbird takes from config-v1.1.xml. Fails where it would refuse."""
    root = ElementTree.fromstring(data)
    assert root.tag == "clientConfig"
    assert root.get("version") == "1.1"
    provider = root.find("emailProvider")
    assert provider is not None
    hostname(provider.get("id"))
    assert text_of(provider, "displayName")
    domains = [hostname(each.text) for each in provider.findall("domain")]
    assert domains, "need proper <domain>"
    incoming = [server(each, _INCOMING) for each in provider.findall("incomingServer")]
    outgoing = [server(each, _OUTGOING) for each in provider.findall("outgoingServer")]
    assert incoming, "need proper <incomingServer>"
    assert outgoing, "need proper <outgoingServer>"
    assert {each["type"] for each in incoming} <= {"pop3", "imap"}
    assert {each["type"] for each in outgoing} == {"smtp"}
    return {"domains": domains, "incoming": incoming, "outgoing": outgoing}


def hostname(found: str | None) -> str:
    assert found is not None
    assert _HOSTNAME.fullmatch(found.lower()), found
    return found


def text_of(parent: ElementTree.Element, tag: str) -> str:
    found = parent.findtext(tag)
    assert found, tag
    return found


def server(element: ElementTree.Element, authentications: set[str]) -> dict[str, Any]:
    port = int(text_of(element, "port"))
    assert 1 <= port <= 65535
    sockets = [each.text for each in element.findall("socketType") if each.text in _SOCKETS]
    known = [each.text for each in element.findall("authentication")]
    usable = [each for each in known if each in authentications]
    assert sockets, "need proper <socketType>"
    assert usable, "need proper <authentication>"
    leave = element.findtext("pop3/leaveMessagesOnServer")
    assert leave in (None, "true", "false")
    return {
        "type": element.get("type"),
        "hostname": hostname(text_of(element, "hostname")),
        "port": port,
        "socket": sockets[0],
        "authentication": usable[0],
        "username": text_of(element, "username"),
        "leave": leave,
    }


def test_thunderbird_takes_the_file() -> None:
    data, kind = answer("autoconfig", WITH_SENDING, ADDRESS)
    assert kind == "text/xml; charset=utf-8"
    found = read_as_thunderbird(data)
    assert found["domains"] == ["example.org"]
    assert found["incoming"][0] == {
        "type": "pop3",
        "hostname": "mail.example.org",
        "port": 1995,
        "socket": "SSL",
        "authentication": "password-cleartext",
        "username": "joe",
        "leave": "true",
    }
    assert [(each["port"], each["socket"]) for each in found["incoming"]] == [
        (1995, "SSL"), (1110, "STARTTLS"),
    ]  # fmt: skip
    (sending,) = found["outgoing"]
    assert (sending["hostname"], sending["port"], sending["socket"]) == (
        "smtp.example.org", 465, "SSL",
    )  # fmt: skip


def test_thunderbird_is_given_no_file_that_it_refuses() -> None:
    """It takes none without a server for sending."""
    with pytest.raises(ClientSettingsError, match=r"set clients\.submission_host"):
        answer("autoconfig", Settings(), ADDRESS)


def test_outlook_gets_pop3_with_tls_and_no_server_that_there_is_not() -> None:
    data, kind = answer("autodiscover", Settings(), ADDRESS, "mail.example.org")
    assert kind == "text/xml; charset=utf-8"
    inner = "{http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a}"
    root = ElementTree.fromstring(data)
    assert root.tag == (
        "{http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006}Autodiscover"
    )
    account = root.find(f"{inner}Response/{inner}Account")
    assert account is not None
    assert account.findtext(f"{inner}AccountType") == "email"
    assert account.findtext(f"{inner}Action") == "settings"
    (pop3,) = account.findall(f"{inner}Protocol")
    found = {each.tag.removeprefix(inner): each.text for each in pop3}
    assert found == {
        "Type": "POP3", "Server": "mail.example.org", "Port": "1995", "LoginName": "joe",
        "DomainRequired": "off", "SPA": "off", "SSL": "on", "AuthRequired": "on",
    }  # fmt: skip


def test_outlook_is_told_of_the_server_for_sending() -> None:
    settings = replace(WITH_SENDING, clients=replace(SENDING, submission_tls="starttls"))
    data, _ = answer("autodiscover", settings, ADDRESS)
    assert b"<Type>SMTP</Type>" in data
    assert b"<Encryption>TLS</Encryption>" in data


def test_apples_profile_is_a_property_list() -> None:
    data, kind = answer("mobileconfig", WITH_SENDING, ADDRESS)
    assert kind == "application/x-apple-aspen-config"
    profile = plistlib.loads(data)
    assert profile["PayloadType"] == "Configuration"
    (mail,) = profile["PayloadContent"]
    assert mail["PayloadType"] == "com.apple.mail.managed"
    assert mail["EmailAccountType"] == "EmailTypePOP"
    assert mail["EmailAddress"] == ADDRESS
    assert mail["IncomingMailServerAuthentication"] == "EmailAuthPassword"
    assert mail["IncomingMailServerHostName"] == "mail.example.org"
    assert mail["IncomingMailServerPortNumber"] == 1995
    assert mail["IncomingMailServerUseSSL"] is True
    assert mail["OutgoingMailServerHostName"] == "smtp.example.org"
    assert not any("Password" in key and isinstance(mail[key], str) for key in mail
                   if not key.endswith("Authentication"))  # fmt: skip
    assert profile["PayloadUUID"] != mail["PayloadUUID"]
    assert answer("mobileconfig", WITH_SENDING, ADDRESS)[0] == data


def test_apples_profile_needs_tls_from_the_start() -> None:
    settings = replace(WITH_SENDING, pop3=replace(WITH_SENDING.pop3, tls_port="off"))
    with pytest.raises(ClientSettingsError, match=r"set pop3\.tls_port"):
        answer("mobileconfig", settings, ADDRESS)


def test_dns_records_are_those_of_rfc_6186() -> None:
    data, _ = answer("dns", Settings(), ADDRESS, "mail.example.org")
    lines = data.decode().splitlines()
    assert lines[:2] == [
        "_pop3s._tcp.example.org. 3600 IN SRV 0 1 1995 mail.example.org.",
        "_pop3._tcp.example.org. 3600 IN SRV 0 1 1110 mail.example.org.",
    ]
    assert not any("submission" in line for line in lines)


def test_dns_says_what_there_is_not() -> None:
    """RFC 6186 §3.4: a target of `.`."""
    settings = replace(WITH_SENDING, pop3=replace(WITH_SENDING.pop3, port="off"))
    lines = answer("dns", settings, ADDRESS)[0].decode().splitlines()
    assert "_pop3._tcp.example.org. 3600 IN SRV 0 0 0 ." in lines
    assert "_submissions._tcp.example.org. 3600 IN SRV 0 1 465 smtp.example.org." in lines
    assert "_submission._tcp.example.org. 3600 IN SRV 0 0 0 ." in lines


def test_people_are_told_what_to_type() -> None:
    text = answer("text", WITH_SENDING, ADDRESS)[0].decode()
    assert re.search(r"^User name +joe$", text, re.M)
    assert re.search(r"^Incoming server +mail\.example\.org$", text, re.M)
    assert re.search(r"^  Port, connection +1995, SSL/TLS$", text, re.M)
    assert re.search(r"^  Port, connection +1110, STARTTLS$", text, re.M)


def test_login_names() -> None:
    """The account's, if it is known; else by the configuration."""
    assert client_settings(Settings(), ADDRESS).login == "joe"
    whole = Settings(clients=ClientsSection(login="address"))
    assert client_settings(whole, ADDRESS).login == ADDRESS
    assert client_settings(whole, ADDRESS, login="joseph").login == "joseph"


def test_host_names_come_from_the_configuration_first() -> None:
    """A web server must not be made to tell of a host that it was asked by."""
    assert client_settings(WITH_SENDING, ADDRESS, "evil.example").incoming[0].host == (
        "mail.example.org"
    )
    assert client_settings(Settings(), ADDRESS, "other.example").incoming[0].host == "other.example"
    assert client_settings(Settings(), ADDRESS).incoming[0].host == "localhost"
    with pytest.raises(ValueError, match="isn't a host name"):
        client_settings(Settings(), ADDRESS, "evil.example/path?x")


def test_a_port_without_tls_is_told_only_where_it_is_safe() -> None:
    pop3 = replace(Settings().pop3, tls="none", host="0.0.0.0")
    found = client_settings(replace(Settings(), pop3=pop3), ADDRESS, "mail.example.org")
    assert [each.tls for each in found.incoming] == ["implicit"]
    with pytest.raises(ClientSettingsError, match=r"set pop3\.tls_port or pop3\.port"):
        client_settings(replace(Settings(), pop3=replace(pop3, tls_port="off")), ADDRESS)


HOSTILE = (
    "<script>alert(1)</script>@example.org",
    "joe&co@example.org",
    '"><x/y="@example.org',
    "]]>@example.org",
    "${jndi}@example.org",
    "jöe@exämple.org",
)


@pytest.mark.parametrize("address", HOSTILE)
def test_hostile_addresses_stay_text(address: str) -> None:
    local = address.rpartition("@")[0]
    found = read_as_thunderbird(answer("autoconfig", WITH_SENDING, address)[0])
    assert found["incoming"][0]["username"] == local
    data = answer("autodiscover", WITH_SENDING, address)[0]
    assert local in "".join(ElementTree.fromstring(data).itertext())
    (mail,) = plistlib.loads(answer("mobileconfig", WITH_SENDING, address)[0])["PayloadContent"]
    assert mail["IncomingMailServerUsername"] == local


@pytest.mark.parametrize(
    "address",
    [
        "", "joe", "@example.org", "joe@", "joe@exa mple.org", "a b@example.org",
        "joe@example.org\n", "joe\x00@example.org", "joe@<x>", "joe@example.org/..", "\ud800@x.org",
        "j" * 300 + "@example.org", "joe@-example.org",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(address: str) -> None:
    for form in FORMS:
        with pytest.raises(ValueError):
            answer(form, WITH_SENDING, address)


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_address_gives_a_file_or_is_refused(local: str, domain: str) -> None:
    address = f"{local}@{domain}"
    try:
        data = answer("autoconfig", WITH_SENDING, address)[0]
    except ValueError:
        return
    assert read_as_thunderbird(data)["incoming"][0]["username"] == address.rpartition("@")[0]
    plistlib.loads(answer("mobileconfig", WITH_SENDING, address)[0])
    answer("dns", WITH_SENDING, address)[0].decode("ascii")


def test_an_unknown_form_is_refused() -> None:
    with pytest.raises(ValueError, match="allowed are text, autoconfig"):
        answer("pdf", Settings(), ADDRESS)


# The command


def test_the_command_prints_the_accounts_name(folder: Path, call: Call) -> None:
    (folder / "restante.toml").write_text(
        '[server]\nhostname = "mail.example.org"\n[accounts]\nkind = "static"\n'
        '[accounts.static.joseph]\npassword = "x"\nemail = "joe@example.org"\n'
    )
    assert load(folder / "restante.toml").problems == ()
    done = call("client-settings", "joe@example.org")
    assert done.status == 0, done.err
    assert done.err == ""
    assert re.search(r"^User name +joseph$", done.out, re.M)
    nobody = call("client-settings", "nobody@example.com")
    assert (nobody.status, nobody.err) == (
        0, "restante: no account has the address nobody@example.com: the user name is a guess\n"
    )  # fmt: skip
    assert "Incoming server" in nobody.out
    assert re.search(r"^Incoming server +mail\.example\.org$", done.out, re.M)


def test_the_command_prints_files(call: Call) -> None:
    done = call(
        "client-settings", ADDRESS, "--format", "autoconfig",
        "--set", "clients.submission_host=smtp.example.org",
    )  # fmt: skip
    assert done.status == 0, done.err
    read_as_thunderbird(done.out.encode())


def test_the_command_says_what_is_wrong(call: Call) -> None:
    assert "known are text, autoconfig" in call("client-settings", ADDRESS, "--format", "x").err
    done = call("client-settings", ADDRESS, "--format", "mobileconfig")
    assert (done.status, done.out) == (1, "")
    assert "set clients.submission_host" in done.err
    assert call("client-settings", "nobody").status == 1


def test_the_command_tells_the_ports_of_the_server_that_runs(folder: Path, call: Call) -> None:
    write_config(folder)
    with Server(folder) as running:
        said = call("client-settings", ADDRESS).out
        ports = [running.port("pop3", tls) for tls in ("implicit", "starttls")]
    assert re.findall(r"connection  (\d+)", said) == [str(port) for port in ports]
    assert [str(port) for port in ports] != re.findall(
        r"connection  (\d+)", call("client-settings", ADDRESS).out
    )


def test_a_name_with_several_addresses_is_one_server() -> None:
    rows = [
        {"protocol": "pop3", "tls": "implicit", "host": host, "port": 1995, "path": None}
        for host in ("127.0.0.1", "::1")
    ]
    found = client_settings(as_it_listens(Settings(), rows), ADDRESS)
    assert [(each.host, each.port) for each in found.incoming] == [("localhost", 1995)]


def test_keys_that_have_no_effect_are_told(folder: Path, call: Call) -> None:
    (folder / "restante.toml").write_text(
        "[tls]\ndevelopment = true\n[clients]\nsubmission_port = 587\n"
    )
    done = call("check-config")
    assert "clients.submission_port" in done.err + done.out
    assert "with clients.submission_host" in done.err + done.out
