"""Texts in Japanese."""

TEXTS: dict[str, str] = {
    "connection refused": "接続は拒否されました",
    "server is stopping": "サーバーを停止しています",
    "too many connections: try again later": "接続が多すぎます。後でやり直してください",
    # Any command
    "unknown command": "不明なコマンドです",
    "empty command": "コマンドが空です",
    "command has no default": "このコマンドには既定の動作がありません",
    "log in first": "先にログインしてください",
    "already logged in": "すでにログインしています",
    "too many bad commands": "誤ったコマンドが多すぎます",
    "this is not an HTTP server": "これは HTTP サーバーではありません",
    "TLS needed first: send STLS": "先に TLS が必要です。STLS を送ってください",
    "control characters are not allowed": "制御文字は使えません",
    "line of more than {limit} octets": "行が {limit} オクテットを超えています",
    "argument is not UTF-8": "引数が UTF-8 ではありません",
    "argument must be a number": "引数は数字でなければなりません",
    "no argument allowed": "引数は指定できません",
    "too many arguments": "引数が多すぎます",
    "message-number missing": "メッセージ番号がありません",
    "message-numbers start at 1": "メッセージ番号は 1 から始まります",
    "message-number and number of lines needed": "メッセージ番号と行数が必要です",
    "no such message": "そのメッセージはありません",
    "temporary failure: try again later": "一時的な障害です。後でやり直してください",
    "the server's operator must look into this": "サーバー管理者の対応が必要です",
    "internal error (ref {reference})": "内部エラー (参照番号 {reference})",
    # Logging in
    "send PASS": "PASS を送ってください",
    "send USER first": "先に USER を送ってください",
    "use AUTH": "AUTH を使ってください",
    "name missing": "名前がありません",
    "name and digest needed": "名前とダイジェストが必要です",
    "APOP is not available": "APOP は利用できません",
    "mechanisms follow": "認証方式の一覧",
    "mechanism is not available": "この認証方式は利用できません",
    "authentication cancelled": "認証を中止しました",
    "authentication failed": "認証に失敗しました",
    "log in again in {seconds} seconds": "{seconds} 秒後にログインし直してください",
    "maildrop is in use by another session": "メールボックスは他のセッションが使用中です",
    "password not accepted without TLS: send STLS first": (
        "TLS なしではパスワードを受け付けません。先に STLS を送ってください"
    ),
    "password not accepted without TLS: send STLS first, or use port {port}": (
        "TLS なしではパスワードを受け付けません。先に STLS を送るか、ポート {port} を使ってください"
    ),
    "password not accepted without TLS: use port {port}": (
        "TLS なしではパスワードを受け付けません。ポート {port} を使ってください"
    ),
    "password not accepted without TLS, which this server does not offer": (
        "TLS なしではパスワードを受け付けませんが、このサーバーは TLS に対応していません"
    ),
    "malformed response": "応答の形式が不正です",
    "malformed response: not base64": "応答の形式が不正です: base64 ではありません",
    "malformed response: not UTF-8": "応答の形式が不正です: UTF-8 ではありません",
    "malformed response: empty name or password": (
        "応答の形式が不正です: 名前またはパスワードが空です"
    ),
    "malformed response: name or password too long": (
        "応答の形式が不正です: 名前またはパスワードが長すぎます"
    ),
    "malformed response: CR, LF or NUL in name or password": (
        "応答の形式が不正です: 名前またはパスワードに CR、LF、NUL が含まれています"
    ),
    "malformed response: PLAIN takes three parts": (
        "応答の形式が不正です: PLAIN は三つの部分から成ります"
    ),
    "malformed response: CRAM-MD5 takes no initial response": (
        "応答の形式が不正です: CRAM-MD5 に初期応答は付けられません"
    ),
    "malformed response: no digest in hex": (
        "応答の形式が不正です: 16 進数のダイジェストがありません"
    ),
    # What client and server agree on
    "capability list follows": "機能の一覧",
    "begin TLS": "TLS を開始してください",
    "TLS is active already": "TLS はすでに有効です",
    "STLS is not available": "STLS は利用できません",
    "nothing may follow STLS before the handshake": (
        "ハンドシェイクの前に STLS の後へ何も送らないでください"
    ),
    "language list follows": "言語の一覧",
    "{tag} language changed": "{tag} 言語を変更しました",
    "language is not available: LANG lists those that are": (
        "その言語は利用できません。利用できる言語は LANG で確認できます"
    ),
    "UTF8 on": "UTF8 を有効にしました",
    # The mail
    "0 messages": "0 通のメッセージ",
    "1 message": "1 通のメッセージ",
    "{count} messages": "{count} 通のメッセージ",
    "{octets} octets": "{octets} オクテット",
    "top of message follows": "メッセージの先頭",
    "marked": "削除の印を付けました",
    "message may not be deleted": "このメッセージは削除できません",
    "message was removed from elsewhere": "メッセージは他から削除されました",
    "message has UTF-8 in its header: send UTF8 first": (
        "メッセージのヘッダーに UTF-8 が含まれています。先に UTF8 を送ってください"
    ),
    "{count} deleted messages not removed (ref {reference})": (
        "削除対象のうち {count} 通を削除できませんでした (参照番号 {reference})"
    ),
    "bye": "さようなら",
    "a channel binding needs a mechanism with -PLUS": (
        "チャネルバインディングには -PLUS の付く機構が必要です"
    ),
    "anonymous login is not available": "匿名ログインは利用できません",
    "channel binding does not match": "チャネルバインディングが一致しません",
    "downgraded: this server does offer channel binding": (
        "ダウングレード: このサーバーはチャネルバインディングを提供しています"
    ),
    "malformed response: = and , in names are written =3D and =2C": (
        "不正な応答: 名前の中の = と , は =3D と =2C と書きます"
    ),
    "malformed response: GS2 header": "不正な応答: GS2 ヘッダー",
    "malformed response: keys and values wanted": "不正な応答: キーと値が必要です",
    "malformed response: no bearer token": "不正な応答: bearer トークンがありません",
    "malformed response: no security layer is available": (
        "不正な応答: セキュリティ層は利用できません"
    ),
    "malformed response: not a message of SCRAM": "不正な応答: SCRAM のメッセージではありません",
    "malformed response: not a sound NTLM message": (
        "不正な応答: 正しい NTLM メッセージではありません"
    ),
    "malformed response: not a token": "不正な応答: トークンではありません",
    "malformed response: not base64 within SCRAM": "不正な応答: SCRAM の中が base64 ではありません",
    "malformed response: nothing is left to be said": "不正な応答: これ以上送るものはありません",
    "malformed response: nothing was asked for": "不正な応答: 何も求められていません",
    "malformed response: token too long": "不正な応答: トークンが長すぎます",
    "malformed response: too many tokens": "不正な応答: トークンが多すぎます",
    "malformed response: trace information too long": "不正な応答: トレース情報が長すぎます",
    "more than {limit} sessions of this account at once": (
        "このアカウントの同時セッションが {limit} を超えました"
    ),
    "no client certificate says who this is": "誰であるかを示すクライアント証明書がありません",
    "no token": "トークンがありません",
    "only version 2 of NTLM is available": "NTLM はバージョン 2 だけが利用できます",
    "the nonce is not the one of this exchange": "ノンスがこの交換のものではありません",
    "this mechanism needs a channel binding": "この機構にはチャネルバインディングが必要です",
    "this type of channel binding is not available": (
        "この種類のチャネルバインディングは利用できません"
    ),
    "too many connections from this address: try again later": (
        "このアドレスからの接続が多すぎます: 後でやり直してください"
    ),
    "too many failed logins from this address: try again later": (
        "このアドレスからのログイン失敗が多すぎます: 後でやり直してください"
    ),
    "too many login attempts: try again later": (
        "ログインの試行が多すぎます: 後でやり直してください"
    ),
    "messages of this maildrop can't be deleted": "このメールドロップのメッセージは削除できません",
    "the maildrop was taken over by another session: nothing was removed": (
        "メールボックスは別のセッションに引き継がれました。何も削除されていません"
    ),
    "login refused": "ログインは拒否されました",
    "message may not be retrieved": "このメッセージは取得できません",
    "command refused": "コマンドは拒否されました",
}
