"""Texts in German."""

TEXTS: dict[str, str] = {
    "connection refused": "Verbindung abgelehnt",
    "server is stopping": "Server wird beendet",
    "too many connections: try again later": "zu viele Verbindungen: später erneut versuchen",
    # Any command
    "unknown command": "unbekannter Befehl",
    "empty command": "leerer Befehl",
    "command has no default": "Befehl ohne Standardverhalten",
    "log in first": "zuerst anmelden",
    "already logged in": "bereits angemeldet",
    "too many bad commands": "zu viele fehlerhafte Befehle",
    "this is not an HTTP server": "dies ist kein HTTP-Server",
    "TLS needed first: send STLS": "zuerst TLS: STLS senden",
    "control characters are not allowed": "Steuerzeichen sind nicht erlaubt",
    "line of more than {limit} octets": "Zeile mit mehr als {limit} Oktetten",
    "argument is not UTF-8": "Argument ist kein UTF-8",
    "argument must be a number": "Argument muss eine Zahl sein",
    "no argument allowed": "kein Argument erlaubt",
    "too many arguments": "zu viele Argumente",
    "message-number missing": "Nachrichtennummer fehlt",
    "message-numbers start at 1": "Nachrichtennummern beginnen bei 1",
    "message-number and number of lines needed": "Nachrichtennummer und Zeilenzahl nötig",
    "no such message": "keine solche Nachricht",
    "temporary failure: try again later": "vorübergehender Fehler: später erneut versuchen",
    "the server's operator must look into this": "hier muss der Betreiber des Servers nachsehen",
    "internal error (ref {reference})": "interner Fehler (Kennung {reference})",
    # Logging in
    "send PASS": "PASS senden",
    "send USER first": "zuerst USER senden",
    "use AUTH": "AUTH verwenden",
    "name missing": "Name fehlt",
    "name and digest needed": "Name und Prüfwert nötig",
    "APOP is not available": "APOP ist nicht verfügbar",
    "mechanisms follow": "Mechanismen folgen",
    "mechanism is not available": "Mechanismus ist nicht verfügbar",
    "authentication cancelled": "Anmeldung abgebrochen",
    "authentication failed": "Anmeldung fehlgeschlagen",
    "log in again in {seconds} seconds": "neue Anmeldung erst in {seconds} Sekunden",
    "maildrop is in use by another session": "Postfach wird von einer anderen Sitzung benutzt",
    "password not accepted without TLS: send STLS first": (
        "Passwort nur mit TLS: zuerst STLS senden"
    ),
    "password not accepted without TLS: send STLS first, or use port {port}": (
        "Passwort nur mit TLS: zuerst STLS senden oder Port {port} verwenden"
    ),
    "password not accepted without TLS: use port {port}": (
        "Passwort nur mit TLS: Port {port} verwenden"
    ),
    "password not accepted without TLS, which this server does not offer": (
        "Passwort nur mit TLS, das dieser Server nicht anbietet"
    ),
    "malformed response": "fehlerhafte Antwort",
    "malformed response: not base64": "fehlerhafte Antwort: kein Base64",
    "malformed response: not UTF-8": "fehlerhafte Antwort: kein UTF-8",
    "malformed response: empty name or password": "fehlerhafte Antwort: Name oder Passwort leer",
    "malformed response: name or password too long": (
        "fehlerhafte Antwort: Name oder Passwort zu lang"
    ),
    "malformed response: CR, LF or NUL in name or password": (
        "fehlerhafte Antwort: CR, LF oder NUL in Name oder Passwort"
    ),
    "malformed response: PLAIN takes three parts": (
        "fehlerhafte Antwort: PLAIN besteht aus drei Teilen"
    ),
    "malformed response: CRAM-MD5 takes no initial response": (
        "fehlerhafte Antwort: CRAM-MD5 beginnt ohne Antwort"
    ),
    "malformed response: no digest in hex": "fehlerhafte Antwort: kein hexadezimaler Prüfwert",
    # What client and server agree on
    "capability list follows": "Liste der Fähigkeiten folgt",
    "begin TLS": "TLS beginnen",
    "TLS is active already": "TLS ist bereits aktiv",
    "STLS is not available": "STLS ist nicht verfügbar",
    "nothing may follow STLS before the handshake": (
        "auf STLS darf vor dem Handshake nichts folgen"
    ),
    "language list follows": "Liste der Sprachen folgt",
    "{tag} language changed": "{tag} Sprache gewechselt",
    "language is not available: LANG lists those that are": (
        "Sprache ist nicht verfügbar: LANG nennt die verfügbaren"
    ),
    "UTF8 on": "UTF8 eingeschaltet",
    # The mail
    "0 messages": "0 Nachrichten",
    "1 message": "1 Nachricht",
    "{count} messages": "{count} Nachrichten",
    "{octets} octets": "{octets} Oktette",
    "top of message follows": "Anfang der Nachricht folgt",
    "marked": "vorgemerkt",
    "message may not be deleted": "Nachricht darf nicht gelöscht werden",
    "message was removed from elsewhere": "Nachricht wurde von anderer Seite entfernt",
    "message has UTF-8 in its header: send UTF8 first": (
        "Nachricht hat UTF-8 im Kopf: zuerst UTF8 senden"
    ),
    "{count} deleted messages not removed (ref {reference})": (
        "{count} gelöschte Nachrichten nicht entfernt (Kennung {reference})"
    ),
    "bye": "auf Wiedersehen",
    "a channel binding needs a mechanism with -PLUS": (
        "Kanalbindung verlangt einen Mechanismus mit -PLUS"
    ),
    "anonymous login is not available": "anonyme Anmeldung ist nicht verfügbar",
    "channel binding does not match": "Kanalbindung stimmt nicht überein",
    "downgraded: this server does offer channel binding": (
        "herabgestuft: dieser Server bietet Kanalbindung an"
    ),
    "malformed response: = and , in names are written =3D and =2C": (
        "fehlerhafte Antwort: = und , in Namen schreibt man =3D und =2C"
    ),
    "malformed response: GS2 header": "fehlerhafte Antwort: GS2-Kopf",
    "malformed response: keys and values wanted": (
        "fehlerhafte Antwort: Schlüssel und Werte erwartet"
    ),
    "malformed response: no bearer token": "fehlerhafte Antwort: kein Bearer-Token",
    "malformed response: no security layer is available": (
        "fehlerhafte Antwort: keine Sicherheitsschicht verfügbar"
    ),
    "malformed response: not a message of SCRAM": "fehlerhafte Antwort: keine SCRAM-Nachricht",
    "malformed response: not a sound NTLM message": (
        "fehlerhafte Antwort: keine gültige NTLM-Nachricht"
    ),
    "malformed response: not a token": "fehlerhafte Antwort: kein Token",
    "malformed response: not base64 within SCRAM": (
        "fehlerhafte Antwort: kein base64 innerhalb von SCRAM"
    ),
    "malformed response: nothing is left to be said": "fehlerhafte Antwort: es ist alles gesagt",
    "malformed response: nothing was asked for": "fehlerhafte Antwort: es wurde nichts gefragt",
    "malformed response: token too long": "fehlerhafte Antwort: Token zu lang",
    "malformed response: too many tokens": "fehlerhafte Antwort: zu viele Token",
    "malformed response: trace information too long": (
        "fehlerhafte Antwort: Angabe zur Herkunft zu lang"
    ),
    "more than {limit} sessions of this account at once": (
        "mehr als {limit} Sitzungen dieses Kontos zugleich"
    ),
    "no client certificate says who this is": "kein Client-Zertifikat sagt, wer das ist",
    "no token": "kein Token",
    "only version 2 of NTLM is available": "nur Version 2 von NTLM ist verfügbar",
    "the nonce is not the one of this exchange": "das Nonce gehört nicht zu diesem Austausch",
    "this mechanism needs a channel binding": "dieser Mechanismus verlangt eine Kanalbindung",
    "this type of channel binding is not available": (
        "diese Art von Kanalbindung ist nicht verfügbar"
    ),
    "too many connections from this address: try again later": (
        "zu viele Verbindungen von dieser Adresse: später erneut versuchen"
    ),
    "too many failed logins from this address: try again later": (
        "zu viele Fehlanmeldungen von dieser Adresse: später erneut versuchen"
    ),
    "too many login attempts: try again later": "zu viele Anmeldeversuche: später erneut versuchen",
    "messages of this maildrop can't be deleted": (
        "Nachrichten dieses Postfachs können nicht gelöscht werden"
    ),
    "the maildrop was taken over by another session: nothing was removed": (
        "das Postfach wurde von einer anderen Sitzung übernommen: nichts wurde entfernt"
    ),
    "login refused": "Anmeldung verweigert",
    "message may not be retrieved": "die Nachricht darf nicht abgerufen werden",
    "command refused": "Befehl verweigert",
}
