"""Texts in Russian. Numbers stand where no word must agree with them."""

TEXTS: dict[str, str] = {
    "connection refused": "в соединении отказано",
    "server is stopping": "сервер завершает работу",
    "too many connections: try again later": "слишком много соединений: повторите позже",
    # Any command
    "unknown command": "неизвестная команда",
    "empty command": "пустая команда",
    "command has no default": "у команды нет действия по умолчанию",
    "log in first": "сначала войдите",
    "already logged in": "вход уже выполнен",
    "too many bad commands": "слишком много ошибочных команд",
    "this is not an HTTP server": "это не сервер HTTP",
    "TLS needed first: send STLS": "сначала нужен TLS: отправьте STLS",
    "control characters are not allowed": "управляющие символы недопустимы",
    "line of more than {limit} octets": "длина строки больше {limit} октетов",
    "argument is not UTF-8": "аргумент не в UTF-8",
    "argument must be a number": "аргумент должен быть числом",
    "no argument allowed": "аргумент не допускается",
    "too many arguments": "слишком много аргументов",
    "message-number missing": "не указан номер сообщения",
    "message-numbers start at 1": "номера сообщений начинаются с 1",
    "message-number and number of lines needed": "нужны номер сообщения и число строк",
    "no such message": "нет такого сообщения",
    "temporary failure: try again later": "временный сбой: повторите позже",
    "the server's operator must look into this": "требуется вмешательство администратора сервера",
    "internal error (ref {reference})": "внутренняя ошибка (код {reference})",
    # Logging in
    "send PASS": "отправьте PASS",
    "send USER first": "сначала отправьте USER",
    "use AUTH": "используйте AUTH",
    "name missing": "не указано имя",
    "name and digest needed": "нужны имя и дайджест",
    "APOP is not available": "APOP недоступен",
    "mechanisms follow": "список механизмов",
    "mechanism is not available": "механизм недоступен",
    "authentication cancelled": "аутентификация отменена",
    "authentication failed": "ошибка аутентификации",
    "log in again in {seconds} seconds": "повторный вход возможен через {seconds} с",
    "maildrop is in use by another session": "почтовый ящик занят другим сеансом",
    "password not accepted without TLS: send STLS first": (
        "пароль без TLS не принимается: сначала отправьте STLS"
    ),
    "password not accepted without TLS: send STLS first, or use port {port}": (
        "пароль без TLS не принимается: сначала отправьте STLS или используйте порт {port}"
    ),
    "password not accepted without TLS: use port {port}": (
        "пароль без TLS не принимается: используйте порт {port}"
    ),
    "password not accepted without TLS, which this server does not offer": (
        "пароль без TLS не принимается, а TLS на этом сервере нет"
    ),
    "malformed response": "неверный ответ",
    "malformed response: not base64": "неверный ответ: не base64",
    "malformed response: not UTF-8": "неверный ответ: не UTF-8",
    "malformed response: empty name or password": "неверный ответ: имя или пароль пусты",
    "malformed response: name or password too long": (
        "неверный ответ: имя или пароль слишком длинны"
    ),
    "malformed response: CR, LF or NUL in name or password": (
        "неверный ответ: CR, LF или NUL в имени или пароле"
    ),
    "malformed response: PLAIN takes three parts": "неверный ответ: в PLAIN три части",
    "malformed response: CRAM-MD5 takes no initial response": (
        "неверный ответ: в CRAM-MD5 нет начального ответа"
    ),
    "malformed response: no digest in hex": "неверный ответ: нет шестнадцатеричного дайджеста",
    # What client and server agree on
    "capability list follows": "список возможностей",
    "begin TLS": "начинайте TLS",
    "TLS is active already": "TLS уже включён",
    "STLS is not available": "STLS недоступен",
    "nothing may follow STLS before the handshake": (
        "до рукопожатия TLS после STLS ничего быть не должно"
    ),
    "language list follows": "список языков",
    "{tag} language changed": "{tag} язык изменён",
    "language is not available: LANG lists those that are": (
        "язык недоступен: список доступных даёт LANG"
    ),
    "UTF8 on": "UTF8 включён",
    # The mail
    "0 messages": "сообщений: 0",
    "1 message": "сообщений: 1",
    "{count} messages": "сообщений: {count}",
    "{octets} octets": "октетов: {octets}",
    "top of message follows": "начало сообщения",
    "marked": "помечено",
    "message may not be deleted": "это сообщение нельзя удалить",
    "message was removed from elsewhere": "сообщение удалено извне",
    "message has UTF-8 in its header: send UTF8 first": (
        "в заголовке сообщения UTF-8: сначала отправьте UTF8"
    ),
    "{count} deleted messages not removed (ref {reference})": (
        "не удалено помеченных сообщений: {count} (код {reference})"
    ),
    "bye": "до свидания",
    "a channel binding needs a mechanism with -PLUS": (
        "для привязки к каналу нужен механизм с -PLUS"
    ),
    "anonymous login is not available": "анонимный вход недоступен",
    "channel binding does not match": "привязка к каналу не совпадает",
    "downgraded: this server does offer channel binding": (
        "понижение: этот сервер предлагает привязку к каналу"
    ),
    "malformed response: = and , in names are written =3D and =2C": (
        "неверный ответ: = и , в именах пишутся как =3D и =2C"
    ),
    "malformed response: GS2 header": "неверный ответ: заголовок GS2",
    "malformed response: keys and values wanted": "неверный ответ: нужны ключи и значения",
    "malformed response: no bearer token": "неверный ответ: нет токена bearer",
    "malformed response: no security layer is available": (
        "неверный ответ: слой безопасности недоступен"
    ),
    "malformed response: not a message of SCRAM": "неверный ответ: не сообщение SCRAM",
    "malformed response: not a sound NTLM message": "неверный ответ: негодное сообщение NTLM",
    "malformed response: not a token": "неверный ответ: не токен",
    "malformed response: not base64 within SCRAM": "неверный ответ: внутри SCRAM не base64",
    "malformed response: nothing is left to be said": "неверный ответ: больше сказать нечего",
    "malformed response: nothing was asked for": "неверный ответ: ничего не спрашивали",
    "malformed response: token too long": "неверный ответ: токен слишком длинный",
    "malformed response: too many tokens": "неверный ответ: слишком много токенов",
    "malformed response: trace information too long": (
        "неверный ответ: сведения о себе слишком длинные"
    ),
    "more than {limit} sessions of this account at once": (
        "больше {limit} одновременных сеансов этой учётной записи"
    ),
    "no client certificate says who this is": "нет сертификата клиента, который говорит, кто это",
    "no token": "нет токена",
    "only version 2 of NTLM is available": "доступна только версия 2 NTLM",
    "the nonce is not the one of this exchange": "nonce не из этого обмена",
    "this mechanism needs a channel binding": "этому механизму нужна привязка к каналу",
    "this type of channel binding is not available": "этот вид привязки к каналу недоступен",
    "too many connections from this address: try again later": (
        "слишком много соединений с этого адреса: повторите позже"
    ),
    "too many failed logins from this address: try again later": (
        "слишком много неудачных входов с этого адреса: повторите позже"
    ),
    "too many login attempts: try again later": "слишком много попыток входа: повторите позже",
    "messages of this maildrop can't be deleted": "сообщения этого ящика нельзя удалить",
    "the maildrop was taken over by another session: nothing was removed": (
        "ящик перешёл к другому сеансу: ничего не удалено"
    ),
    "login refused": "вход отклонён",
    "message may not be retrieved": "это сообщение нельзя получить",
    "command refused": "команда отклонена",
}
