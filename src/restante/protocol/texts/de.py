"""Texts in German."""

TEXTS: dict[str, str] = {
    "Restante ready{stamp}": "Restante bereit{stamp}",
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
}
