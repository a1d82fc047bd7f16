"""Headers for clients without UTF8 (A13, RFC 6856 §2.1): ASCII, and nothing lost."""

from __future__ import annotations

import re
import time
from email import message_from_bytes, policy
from email.header import decode_header, make_header
from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.protocol.downgrade import downgrade_growth, downgrade_header
from restante.protocol.facts import measure
from restante.protocol.limits import MAX_DOWNGRADED_HEADER


def downgraded(text: str) -> str:
    """A header without its blank line, there and back."""
    result = downgrade_header(text.encode() + b"\r\n").decode("ascii")
    assert result.endswith("\r\n\r\n")
    return result.removesuffix("\r\n")


def value(text: str) -> str:
    """The unfolded value of a one-field header, downgraded."""
    unfolded = downgraded(text).replace("\r\n", "")
    return unfolded.partition(":")[2].strip()


def parsed(text: str) -> EmailMessage:
    return message_from_bytes(downgraded(text).encode(), policy=policy.default)


def read(text: str) -> str:
    """What a reader of encoded-words (RFC 2047) sees."""
    return str(make_header(decode_header(text)))


def words(text: str) -> list[str]:
    return re.findall(r"=\?utf-8\?B\?[A-Za-z0-9+/=]*\?=", text)


class TestWhatStays:
    @pytest.mark.parametrize(
        "header",
        [
            b"",
            b"\r\n",
            b"Subject: x\r\n\r\n",
            b"Subject:\tx \n  y\n\n",
            b"no field\r\nSubject: =?iso-8859-1?Q?=FC?=\r\n\r\n",
        ],
    )
    def test_an_ascii_header(self, header: bytes) -> None:
        assert downgrade_header(header) == header
        assert downgrade_growth(header) == 0

    @pytest.mark.parametrize(
        "header",
        [
            b"Subject: \xfc\r\n\r\n",
            "Subject: ü\r\n".encode() + b"From: \xfc\r\n\r\n",
            b"Subject: \xed\xa0\x80\r\n\r\n",
            b"Subject: \xc3",
        ],
    )
    def test_old_8_bit_mail(self, header: bytes) -> None:
        """Guessing its charset would damage it."""
        assert downgrade_header(header) == header
        assert downgrade_growth(header) == 0

    def test_ascii_fields_beside_others_octet_for_octet(self) -> None:
        before = "X-One:  a\r\n\t b \r\n \r\nX-Two: b\n c\nX\rY: z\r\n"
        after = "To: a <a@b>,\r\n  b <c@d>\r\n"
        header = (before + "Subject: ü\r\n" + after + "\r\n").encode()
        result = downgrade_header(header)
        assert result.startswith(before.encode())
        assert result.endswith(after.encode() + b"\r\n")


class TestText:
    def test_words_before_and_after_stay_readable(self) -> None:
        text = "Subject: Re: [list] Grüße  aus Köln now\r\n"
        assert value(text) == "Re: [list] =?utf-8?B?R3LDvMOfZSAgYXVzIEvDtmxu?= now"
        assert parsed(text)["Subject"] == "Re: [list] Grüße  aus Köln now"

    def test_encoded_words_that_were_there_stay(self) -> None:
        text = "Subject: ä =?iso-8859-1?Q?=FC=20x?= ö =?utf-8?Q?b?= =?utf-8?Q?c?= d\r\n"
        result = value(text)
        for word in ("=?iso-8859-1?Q?=FC=20x?=", "=?utf-8?Q?b?= =?utf-8?Q?c?= d"):
            assert word in result
        assert read(result) == "ä ü x ö bc d"

    def test_long_text_is_folded_between_characters(self) -> None:
        text = "Subject: " + "日本語の件名" * 40 + "\r\n"
        lines = downgraded(text).split("\r\n")[:-1]
        assert len(lines) > 5
        assert all(len(line) <= 76 for line in lines)
        assert all(line.startswith(" ") for line in lines[1:])
        for word in words(" ".join(lines)):
            assert len(word) <= 75
            read(word)  # whole characters in each
        assert parsed(text)["Subject"] == "日本語の件名" * 40

    def test_folded_text_is_unfolded_first(self) -> None:
        assert parsed("Subject: Grüße\r\n aus\r\n\tKöln\r\n")["Subject"] == "Grüße aus\tKöln"

    def test_no_blank_after_the_colon_or_too_many(self) -> None:
        assert downgraded("Subject:ü\r\n") == "Subject: =?utf-8?B?w7w=?=\r\n"
        assert downgraded("Subject:  ü \r\n") == "Subject:  =?utf-8?B?w7w=?=\r\n"

    def test_a_long_ascii_word_stays_whole(self) -> None:
        long = "x" * 300
        assert parsed(f"Subject: ü {long} ö\r\n")["Subject"] == f"ü {long} ö"
        assert long in downgraded(f"Subject: {long} ö\r\n")

    def test_other_structured_fields_are_treated_as_text(self) -> None:
        assert value("Message-ID: <ü@example.org>\r\n") == "=?utf-8?B?PMO8QGV4YW1wbGUub3JnPg==?="
        assert value("Received: from ü by b; date\r\n") == "from =?utf-8?B?w7w=?= by b; date"

    def test_control_characters_go_inside_the_encoded_words(self) -> None:
        for field in ("Subject", "From", "Content-Type"):
            result = downgraded(f"{field}: a\rb ü\0 \r c\r\n")
            assert result.count("\r") == result.count("\r\n")
            assert "\0" not in result


class TestAddresses:
    def test_display_names(self) -> None:
        text = 'From: "Müller, Hans" <hans@example.org>\r\n'
        assert value(text) == "=?utf-8?B?TcO8bGxlciwgSGFucw==?= <hans@example.org>"
        (address,) = parsed(text)["From"].addresses
        assert (address.display_name, address.addr_spec) == ("Müller, Hans", "hans@example.org")

    def test_ascii_mailboxes_in_the_list_stay(self) -> None:
        text = 'To: "Lee, Ann" <ann@x>, Zoë <z@x>, bob@x (Bob),\r\n =?utf-8?Q?C?= <c@x>\r\n'
        assert value(text) == (
            '"Lee, Ann" <ann@x>, =?utf-8?B?Wm/Dqw==?= <z@x>, bob@x (Bob), =?utf-8?Q?C?= <c@x>'
        )

    def test_quoted_pairs_and_ideographic_spaces_are_kept(self) -> None:
        text = 'From: "a \\"ü\\" \u3000b" <a@x>\r\n'
        assert read(value(text)) == 'a "ü" \u3000b <a@x>'

    def test_an_address_beyond_ascii_becomes_an_empty_group(self) -> None:
        """It can't be replied to, but it can be read."""
        text = "To: Jürgen <jürgen@example.org>, ü@example.org, ann@x\r\n"
        to = parsed(text)["To"]
        assert [address.addr_spec for address in to.addresses] == ["ann@x"]
        assert [group.display_name for group in to.groups[:2]] == [
            "Jürgen <jürgen@example.org>",
            "ü@example.org",
        ]
        assert value(text).endswith("=?utf-8?B?w7xAZXhhbXBsZS5vcmc=?= :;, ann@x")

    def test_a_domain_beyond_ascii_too(self) -> None:
        assert words(value("From: <joe@bücher.example>\r\n"))
        assert value("From: <joe@bücher.example>\r\n").endswith(" :;")

    def test_groups(self) -> None:
        text = "Cc: Größe: a@x, Zoë <z@x>;, b@x\r\n"
        cc = parsed(text)["Cc"]
        assert [group.display_name for group in cc.groups] == ["Größe", None]
        assert [address.addr_spec for address in cc.addresses] == ["a@x", "z@x", "b@x"]

    def test_a_group_with_an_address_beyond_ascii(self) -> None:
        cc = parsed("Cc: friends: a@x, ü@x;, b@x\r\n")["Cc"]
        assert [address.addr_spec for address in cc.addresses] == ["b@x"]
        assert cc.groups[0].display_name == "friends: a@x, ü@x;"

    def test_comments(self) -> None:
        assert value("To: a@x (Käse (\\) ü))\r\n") == "a@x (=?utf-8?B?S8Okc2UgKCkgw7wp?=)"

    @pytest.mark.parametrize(
        "hostile",
        [
            '"=?utf-8?Q?a@x,?= ü" <b@x>',
            '"ü\\" <evil@x>, " <b@x>',
            "ü (<evil@x>,) <b@x>",
        ],
    )
    def test_a_name_never_becomes_an_address(self, hostile: str) -> None:
        addresses = parsed(f"From: {hostile}\r\n")["From"].addresses
        assert [address.addr_spec for address in addresses] == ["b@x"]

    @pytest.mark.parametrize(
        "broken",
        ['"ü', "(ü", "<ü", "[ü", "ü\\", '"ü\\', "ü,;:", ":ü", ";ü,", "ü <", '<"ü>', "((ü)"],
    )
    def test_broken_ones_are_made_ascii_all_the_same(self, broken: str) -> None:
        assert value(f"To: {broken}\r\n")


class TestParameters:
    def test_a_file_name(self) -> None:
        text = 'Content-Disposition: attachment; filename="Übersicht; 1.pdf"; size=3\r\n'
        assert value(text) == "attachment; filename*=utf-8''%C3%9Cbersicht%3B%201.pdf; size=3"
        assert parsed(text).get_filename() == "Übersicht; 1.pdf"

    def test_a_long_file_name_in_sections(self) -> None:
        name = 'Die "große" Übersicht über 日本語 ' * 8 + ".pdf"
        quoted = name.replace('"', '\\"')
        text = f'Content-Disposition: attachment; filename="{quoted}"\r\n'
        assert parsed(text).get_filename() == name
        assert all(len(line) <= 78 for line in downgraded(text).split("\r\n"))

    def test_an_unquoted_file_name(self) -> None:
        text = "Content-Disposition: attachment; filename=Über sicht.pdf \r\n"
        assert parsed(text).get_filename() == "Über sicht.pdf"

    def test_the_boundary_stays(self) -> None:
        text = 'Content-Type: multipart/mixed; boundary="a  =;b"; name="ü"\r\n'
        message = parsed(text)
        assert message.get_boundary() == "a  =;b"
        assert message.get_content_type() == "multipart/mixed"
        assert message.get_param("name") == "ü"

    def test_extended_and_sectioned_ones(self) -> None:
        assert value("Content-Type: a/b; name*=utf-8''%20ü\r\n") == "a/b; name*=utf-8''%20%C3%BC"
        text = 'Content-Type: a/b; name*0="ü"; name*1="ö"\r\n'
        assert value(text) == "a/b; name*0*=utf-8''%C3%BC; name*1*=%C3%B6"

    def test_what_is_no_parameter(self) -> None:
        assert value("Content-Type: a/b; ü; x=1\r\n") == "a/b; =?utf-8?B?w7w=?=; x=1"
        assert value("Content-Type: a/b; x=1 (ü)\r\n") == "a/b; x=1 (=?utf-8?B?w7w=?=)"


class TestNamesAndLineEnds:
    def test_a_field_name_beyond_ascii(self) -> None:
        assert downgraded("Grüße:  x\r\n\ty\r\n") == "Gr=C3=BC=C3=9Fe:  x\r\n\ty\r\n"
        assert downgraded("Grüße: ü\r\n") == "Gr=C3=BC=C3=9Fe: =?utf-8?B?w7w=?=\r\n"

    def test_a_line_that_is_no_field(self) -> None:
        assert downgraded("hällo\r\n wörld\r\n") == "h=C3=A4llo\r\n w=C3=B6rld\r\n"
        assert downgraded("From ü@x Mon Jan 1 10:00\r\n").startswith("From =C3=BC@x Mon Jan 1 10:")

    @pytest.mark.parametrize("end", ["\r\n", "\n"])
    def test_line_ends_follow_the_field(self, end: str) -> None:
        text = f"Subject: {'ü' * 100}{end}X: y{end}{end}"
        result = downgrade_header(text.encode())
        assert result.endswith(f"X: y{end}{end}".encode())
        assert result.count(b"\r\n") == (result.count(b"\n") if end == "\r\n" else 0)

    @pytest.mark.parametrize("rest", ["", "\n", "\r\n"])
    def test_a_header_without_a_blank_line(self, rest: str) -> None:
        assert downgrade_header(f"Subject: ü{rest}".encode()) == (
            b"Subject: =?utf-8?B?w7w=?=" + rest.encode()
        )


def test_facts_count_the_downgraded_form() -> None:
    """F5: octets are those of what is sent."""
    for end in ("\r\n", "\n"):
        message = f"Subject: {'Grüße ' * 30}{end}To: ü@x{end}{end}Bödy{end}".encode()
        facts = measure([message])
        header, body = message[: facts.header_end], message[facts.header_end :]
        sent = downgrade_header(header) + body
        assert facts.ascii_octets == len(sent.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))


NAMES = ["Subject", "From", "To", "Content-Type", "Content-Disposition", "X-Any", "Grüße", "a b"]
BITS = st.sampled_from(
    [
        *"\"\\()<>[]@,;: \t.=?*%ü日\r\0'",
        "\r\n ",
        "\n\t",
        "=?utf-8?Q?x?=",
        "name",
        "😀",
        "a@b",
        "\u3000",
    ]
)
VALUES = st.lists(st.one_of(BITS, st.text(max_size=4)), max_size=25).map("".join)
FIELDS = st.tuples(
    st.sampled_from(NAMES),
    VALUES.map(lambda text: re.sub(r"\n(?![ \t])", "", text)),
    st.sampled_from(["\r\n", "\n"]),
).map(lambda field: f"{field[0]}: {field[1]}{field[2]}")
HEADERS = st.tuples(st.lists(FIELDS, max_size=4).map("".join), st.sampled_from(["\r\n", "\n", ""]))


def starts_of_fields(header: bytes) -> int:
    return sum(1 for line in header.split(b"\n") if line.strip(b"\r") and line[0] not in b" \t")


@given(HEADERS)
def test_any_header(parts: tuple[str, str]) -> None:
    """ASCII, as many fields, the blank line kept, no new kind of line end, the growth right."""
    header = "".join(parts).encode("utf-8", "ignore")
    result = downgrade_header(header)
    assert result.isascii()
    assert downgrade_header(result) == result
    assert starts_of_fields(result) == starts_of_fields(header)
    assert result.endswith(parts[1].encode())
    assert re.search(rb"\n\r?\n", result[:-2]) is None
    if b"\n" in header and b"\r" not in header:
        assert b"\r" not in result
    if not re.search(rb"(?<!\r)\n", header):
        assert not re.search(rb"(?<!\r)\n", result)
    assert len(re.findall(rb"\r(?!\n)", result)) <= len(re.findall(rb"\r(?!\n)", header))
    wire = [re.sub(rb"\r?\n", b"\r\n", text) for text in (header, result)]
    assert downgrade_growth(header) == len(wire[1]) - len(wire[0])


@given(st.binary())
def test_any_octets(header: bytes) -> None:
    result = downgrade_header(header)
    assert result.isascii() or result == header


@given(st.text(st.characters(exclude_characters="=?", exclude_categories=["Cc", "Cs", "Zl", "Zp"])))
def test_text_comes_back(text: str) -> None:
    """What a reader of encoded-words sees is what was there."""
    result = value(f"Subject: {text}\r\n")
    assert read(result) == text.strip(" ")
    assert all(len(word) <= 75 for word in words(result))


@given(
    st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1),
)
def test_file_names_come_back(name: str) -> None:
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    result = downgraded(f'Content-Disposition: attachment; filename="{quoted} ü"\r\n')
    parameters = re.findall(r"filename\*(?:\d+\*)?=(?:utf-8'')?([^;\s]*)", result)
    octets = "".join(parameters)
    decoded = re.sub(r"%(..)", lambda found: chr(int(found[1], 16)), octets)
    assert decoded.encode("latin-1").decode() == f"{name} ü"


@pytest.mark.parametrize("field", ["Subject", "To", "Content-Type", "Grüße"])
@pytest.mark.parametrize(
    "text",
    [
        *("ü", "ü ", "a ü ", '"', "(", "(ü", "<", '<"', "[", ",ü", ";", ":ü", "\\", '"\\', "=?"),
        *("\r", "=?a?b?ü", ";a=ü", "a;ü:", "ü\r\n ", "=?utf-8?Q?x?= ü "),
    ],
)
def test_time_is_bounded(field: str, text: str) -> None:
    """A header of 64 KiB, the most that is looked at, takes a moment whatever it holds."""
    size = MAX_DOWNGRADED_HEADER
    header = (field + ": ü" + text * (size // len(text.encode())) + "\r\n\r\n").encode()
    begun = time.process_time()
    assert downgrade_header(header).isascii()
    assert time.process_time() - begun < 1.5
