"""Texts in French."""

TEXTS: dict[str, str] = {
    "connection refused": "connexion refusée",
    "server is stopping": "le serveur s'arrête",
    "too many connections: try again later": "trop de connexions : réessayez plus tard",
    # Any command
    "unknown command": "commande inconnue",
    "empty command": "commande vide",
    "command has no default": "commande sans action par défaut",
    "log in first": "identifiez-vous d'abord",
    "already logged in": "déjà identifié",
    "too many bad commands": "trop de commandes erronées",
    "this is not an HTTP server": "ceci n'est pas un serveur HTTP",
    "TLS needed first: send STLS": "TLS requis d'abord : envoyez STLS",
    "control characters are not allowed": "caractères de contrôle interdits",
    "line of more than {limit} octets": "ligne de plus de {limit} octets",
    "argument is not UTF-8": "l'argument n'est pas en UTF-8",
    "argument must be a number": "l'argument doit être un nombre",
    "no argument allowed": "aucun argument admis",
    "too many arguments": "trop d'arguments",
    "message-number missing": "numéro de message manquant",
    "message-numbers start at 1": "les numéros de message commencent à 1",
    "message-number and number of lines needed": "numéro de message et nombre de lignes requis",
    "no such message": "message inexistant",
    "temporary failure: try again later": "défaillance temporaire : réessayez plus tard",
    "the server's operator must look into this": "l'exploitant du serveur doit intervenir",
    "internal error (ref {reference})": "erreur interne (réf. {reference})",
    # Logging in
    "send PASS": "envoyez PASS",
    "send USER first": "envoyez d'abord USER",
    "use AUTH": "utilisez AUTH",
    "name missing": "nom manquant",
    "name and digest needed": "nom et empreinte requis",
    "APOP is not available": "APOP n'est pas disponible",
    "mechanisms follow": "liste des mécanismes",
    "mechanism is not available": "mécanisme non disponible",
    "authentication cancelled": "authentification annulée",
    "authentication failed": "échec de l'authentification",
    "log in again in {seconds} seconds": "nouvelle connexion possible dans {seconds} secondes",
    "maildrop is in use by another session": ("boîte aux lettres occupée par une autre session"),
    "password not accepted without TLS: send STLS first": (
        "mot de passe refusé sans TLS : envoyez d'abord STLS"
    ),
    "password not accepted without TLS: send STLS first, or use port {port}": (
        "mot de passe refusé sans TLS : envoyez d'abord STLS ou utilisez le port {port}"
    ),
    "password not accepted without TLS: use port {port}": (
        "mot de passe refusé sans TLS : utilisez le port {port}"
    ),
    "password not accepted without TLS, which this server does not offer": (
        "mot de passe refusé sans TLS, que ce serveur n'offre pas"
    ),
    "malformed response": "réponse mal formée",
    "malformed response: not base64": "réponse mal formée : pas en base64",
    "malformed response: not UTF-8": "réponse mal formée : pas en UTF-8",
    "malformed response: empty name or password": ("réponse mal formée : nom ou mot de passe vide"),
    "malformed response: name or password too long": (
        "réponse mal formée : nom ou mot de passe trop long"
    ),
    "malformed response: CR, LF or NUL in name or password": (
        "réponse mal formée : CR, LF ou NUL dans le nom ou le mot de passe"
    ),
    "malformed response: PLAIN takes three parts": (
        "réponse mal formée : PLAIN comporte trois parties"
    ),
    "malformed response: CRAM-MD5 takes no initial response": (
        "réponse mal formée : CRAM-MD5 n'admet pas de réponse initiale"
    ),
    "malformed response: no digest in hex": ("réponse mal formée : pas d'empreinte en hexadécimal"),
    # What client and server agree on
    "capability list follows": "liste des capacités",
    "begin TLS": "commencez TLS",
    "TLS is active already": "TLS est déjà actif",
    "STLS is not available": "STLS n'est pas disponible",
    "nothing may follow STLS before the handshake": (
        "rien ne doit suivre STLS avant la négociation"
    ),
    "language list follows": "liste des langues",
    "{tag} language changed": "{tag} langue changée",
    "language is not available: LANG lists those that are": (
        "langue non disponible : LANG donne la liste"
    ),
    "UTF8 on": "UTF8 activé",
    # The mail
    "0 messages": "0 message",
    "1 message": "1 message",
    "{count} messages": "{count} messages",
    "{octets} octets": "{octets} octets",
    "top of message follows": "début du message",
    "marked": "message marqué",
    "message may not be deleted": "ce message ne peut pas être supprimé",
    "message was removed from elsewhere": "message retiré entre-temps",
    "message has UTF-8 in its header: send UTF8 first": (
        "l'en-tête du message est en UTF-8 : envoyez d'abord UTF8"
    ),
    "{count} deleted messages not removed (ref {reference})": (
        "{count} messages supprimés n'ont pas été retirés (réf. {reference})"
    ),
    "bye": "au revoir",
    "a channel binding needs a mechanism with -PLUS": (
        "la liaison au canal exige un mécanisme en -PLUS"
    ),
    "anonymous login is not available": "la connexion anonyme n'est pas disponible",
    "channel binding does not match": "la liaison au canal ne correspond pas",
    "downgraded: this server does offer channel binding": (
        "rétrogradé : ce serveur propose bien la liaison au canal"
    ),
    "malformed response: = and , in names are written =3D and =2C": (
        "réponse mal formée : = et , s'écrivent =3D et =2C dans les noms"
    ),
    "malformed response: GS2 header": "réponse mal formée : en-tête GS2",
    "malformed response: keys and values wanted": "réponse mal formée : clés et valeurs attendues",
    "malformed response: no bearer token": "réponse mal formée : pas de jeton bearer",
    "malformed response: no security layer is available": (
        "réponse mal formée : aucune couche de sécurité n'est disponible"
    ),
    "malformed response: not a message of SCRAM": "réponse mal formée : pas un message SCRAM",
    "malformed response: not a sound NTLM message": (
        "réponse mal formée : pas un message NTLM valable"
    ),
    "malformed response: not a token": "réponse mal formée : pas un jeton",
    "malformed response: not base64 within SCRAM": "réponse mal formée : pas du base64 dans SCRAM",
    "malformed response: nothing is left to be said": (
        "réponse mal formée : il n'y a plus rien à dire"
    ),
    "malformed response: nothing was asked for": "réponse mal formée : rien n'était demandé",
    "malformed response: token too long": "réponse mal formée : jeton trop long",
    "malformed response: too many tokens": "réponse mal formée : trop de jetons",
    "malformed response: trace information too long": (
        "réponse mal formée : information de trace trop longue"
    ),
    "more than {limit} sessions of this account at once": (
        "plus de {limit} sessions de ce compte à la fois"
    ),
    "no client certificate says who this is": "aucun certificat client ne dit qui c'est",
    "no token": "pas de jeton",
    "only version 2 of NTLM is available": "seule la version 2 de NTLM est disponible",
    "the nonce is not the one of this exchange": "le nonce n'est pas celui de cet échange",
    "this mechanism needs a channel binding": "ce mécanisme exige une liaison au canal",
    "this type of channel binding is not available": (
        "ce type de liaison au canal n'est pas disponible"
    ),
    "too many connections from this address: try again later": (
        "trop de connexions depuis cette adresse : réessayez plus tard"
    ),
    "too many failed logins from this address: try again later": (
        "trop d'échecs de connexion depuis cette adresse : réessayez plus tard"
    ),
    "too many login attempts: try again later": (
        "trop de tentatives de connexion : réessayez plus tard"
    ),
    "messages of this maildrop can't be deleted": (
        "les messages de cette boîte ne peuvent pas être supprimés"
    ),
    "the maildrop was taken over by another session: nothing was removed": (
        "la boîte a été reprise par une autre session : rien n'a été supprimé"
    ),
    "login refused": "connexion au compte refusée",
    "message may not be retrieved": "le message ne peut pas être lu",
    "command refused": "commande refusée",
}
