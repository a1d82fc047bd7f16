/* A connection on loopback: in the clear, or inside TLS where OpenSSL was there at compile time. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#ifdef WITH_TLS
#include <openssl/err.h>
#include <openssl/ssl.h>
#else
typedef void SSL;
typedef void SSL_SESSION;
#endif

enum { AGAIN = -2 };

struct stream {
    int fd;
    int shaking;            /* the handshake isn't over */
    int resumed;
    SSL *tls;
    SSL_SESSION *ticket;    /* of the connection before; kept when this one is closed */
};

static inline int stream_connect(struct stream *stream, int port, const char *source)
{
    int on = 1;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    struct sockaddr_in from = {.sin_family = AF_INET};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    stream->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (stream->fd < 0)
        return -1;
    if (source) {
        inet_pton(AF_INET, source, &from.sin_addr);
        setsockopt(stream->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
        if (bind(stream->fd, (struct sockaddr *)&from, sizeof from) != 0)
            return -1;
    }
    setsockopt(stream->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return connect(stream->fd, (struct sockaddr *)&to, sizeof to);
}

#ifdef WITH_TLS
static int stream_keep_ticket(SSL *tls, SSL_SESSION *ticket)
{
    struct stream *stream = SSL_get_app_data(tls);
    if (stream->ticket)
        SSL_SESSION_free(stream->ticket);
    stream->ticket = ticket;
    return 1;
}

/* Takes any certificate. Without `resume` no connection knows of another. */
static inline SSL_CTX *stream_context(int resume)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(context, resume ? SSL_SESS_CACHE_CLIENT
        | SSL_SESS_CACHE_NO_INTERNAL : SSL_SESS_CACHE_OFF);
    if (resume)
        SSL_CTX_sess_set_new_cb(context, stream_keep_ticket);
    return context;
}

static inline void stream_inside(struct stream *stream, SSL_CTX *context)
{
    stream->tls = SSL_new(context);
    stream->shaking = 1;
    SSL_set_fd(stream->tls, stream->fd);
    SSL_set_connect_state(stream->tls);
    SSL_set_app_data(stream->tls, stream);
    SSL_set_tlsext_host_name(stream->tls, "localhost");
    if (stream->ticket)
        SSL_set_session(stream->tls, stream->ticket);
}

static ssize_t stream_trouble(struct stream *stream, int result)
{
    int error = SSL_get_error(stream->tls, result);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
        return AGAIN;
    return error == SSL_ERROR_ZERO_RETURN ? 0 : -1;
}

/* Go on with the handshake: 1 when it is over, AGAIN, or -1. */
static int stream_shake(struct stream *stream)
{
    int result;
    ERR_clear_error();
    result = SSL_do_handshake(stream->tls);
    if (result == 1) {
        stream->shaking = 0;
        stream->resumed = SSL_session_reused(stream->tls);
        return 1;
    }
    return stream_trouble(stream, result) == AGAIN ? AGAIN : -1;
}
#endif

/* Octets received; 0 at the end, AGAIN when there are none yet, -1 for trouble. */
static ssize_t stream_receive(struct stream *stream, char *buffer, size_t size)
{
#ifdef WITH_TLS
    if (stream->tls) {
        int result;
        ERR_clear_error();
        result = SSL_read(stream->tls, buffer, (int)size);
        return result > 0 ? result : stream_trouble(stream, result);
    }
#endif
    ssize_t result = recv(stream->fd, buffer, size, 0);
    return result < 0 && errno == EAGAIN ? AGAIN : result;
}

/* Octets sent, AGAIN when the other end takes none now, -1 for trouble. */
static ssize_t stream_send(struct stream *stream, const char *data, size_t size)
{
#ifdef WITH_TLS
    if (stream->tls) {
        int result;
        ERR_clear_error();
        result = SSL_write(stream->tls, data, (int)size);
        return result > 0 ? result : stream_trouble(stream, result);
    }
#endif
    ssize_t result = send(stream->fd, data, size, MSG_NOSIGNAL);
    return result < 0 && errno == EAGAIN ? AGAIN : result;
}

static void stream_close(struct stream *stream)
{
#ifdef WITH_TLS
    if (stream->tls) {
        SSL_set_shutdown(stream->tls, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
        SSL_free(stream->tls);
        stream->tls = NULL;
    }
#endif
    close(stream->fd);
}
