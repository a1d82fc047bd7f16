/* The ceiling: a POP3 server that does nothing but send what was prepared.
 *
 * ceiling FOLDER READY [CERTIFICATE KEY]
 *
 * FOLDER has a file for each kind of account: joe0, joe1 … are answered from `joe`. The file
 * is a list of replies, each "<octets>\n" and these octets: to STAT, UIDL, LIST, RETR 1,
 * RETR 2 …. With a certificate there is another port, for TLS from the first octet, if OpenSSL
 * was there at compile time. The ports are written to READY, 0 for none. No password is looked
 * at and no error is known.
 */
#define _GNU_SOURCE
#include "stream.h"
#include <dirent.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/uio.h>

enum { STAT, UIDL, LIST, RETR, MAX_REPLIES = 1024, MAX_BOXES = 32, IN = 32 * 1024, OUT = 64 * 1024 };

struct reply { const char *data; size_t size; };
struct box { char name[64]; struct reply replies[MAX_REPLIES]; };
struct peer {
    struct stream stream;
    int leaving, waiting;
    struct box *box;
    size_t held, ready, sent;   /* sent: of `out` and `body` together */
    struct reply body;
    char in[IN], out[OUT];
};

static struct box boxes[MAX_BOXES];
static int box_count, poller, listeners[2];   /* in the clear, and for TLS */
#ifdef WITH_TLS
static SSL_CTX *context;

/* As Restante's: one ticket for a connection, buffers given back. Ends the program if a file is
 * no good. */
static SSL_CTX *server_context(const char *certificate, const char *key)
{
    SSL_CTX *made = SSL_CTX_new(TLS_server_method());
    SSL_CTX_set_mode(made, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_num_tickets(made, 1);
    SSL_CTX_set_session_id_context(made, (const unsigned char *)"pop3", 4);
    if (SSL_CTX_use_certificate_chain_file(made, certificate) != 1
        || SSL_CTX_use_PrivateKey_file(made, key, SSL_FILETYPE_PEM) != 1)
        exit(1);
    return made;
}

static void accept_tls(struct stream *stream)
{
    stream->tls = SSL_new(context);
    stream->shaking = 1;
    SSL_set_fd(stream->tls, stream->fd);
    SSL_set_accept_state(stream->tls);
}
#endif

static void load_box(const char *folder, const char *name)
{
    char path[4096], *at, *end;
    struct box *box = &boxes[box_count++];
    FILE *file;
    long size;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    snprintf(box->name, sizeof box->name, "%.63s", name);
    file = fopen(path, "rb");
    fseek(file, 0, SEEK_END);
    size = ftell(file);
    rewind(file);
    at = malloc((size_t)size + 1);
    size = (long)fread(at, 1, (size_t)size, file);
    fclose(file);
    end = at + size;
    for (int number = 0; at < end && number < MAX_REPLIES; number++) {
        size_t octets = strtoul(at, &at, 10);
        box->replies[number] = (struct reply){at + 1, octets};
        at += 1 + octets;
    }
}

static void load_boxes(const char *folder)
{
    DIR *listing = opendir(folder);
    struct dirent *entry;
    while ((entry = readdir(listing)) && box_count < MAX_BOXES)
        if (entry->d_name[0] != '.')
            load_box(folder, entry->d_name);
    closedir(listing);
}

static struct box *find_box(const char *name, size_t size)
{
    while (size && name[size - 1] >= '0' && name[size - 1] <= '9')
        size--;
    for (int i = 0; i < box_count; i++)
        if (strlen(boxes[i].name) == size && !memcmp(boxes[i].name, name, size))
            return &boxes[i];
    return NULL;
}

static struct reply answer(struct peer *peer, const char *line, size_t size)
{
    static const struct reply ok = {"+OK\r\n", 5}, no = {"-ERR\r\n", 6};
    switch (line[0]) {
    case 'U':
        if (line[1] == 'I')
            return peer->box ? peer->box->replies[UIDL] : no;
        peer->box = size > 7 ? find_box(line + 5, size - 7) : NULL;
        return ok;
    case 'S':
        return peer->box ? peer->box->replies[STAT] : no;
    case 'L':
        return peer->box ? peer->box->replies[LIST] : no;
    case 'R': {
        int number = atoi(line + 4);
        if (!peer->box || number < 1 || number > MAX_REPLIES - RETR)
            return no;
        return peer->box->replies[RETR + number - 1];
    }
    case 'Q':
        peer->leaving = 1;
        return ok;
    default:
        return ok;
    }
}

static void leave(struct peer *peer)
{
#ifdef WITH_TLS
    if (peer->stream.tls && peer->leaving)
        SSL_shutdown(peer->stream.tls);
#endif
    stream_close(&peer->stream);
    free(peer);
}

/* Octets sent of what is ready, AGAIN, or -1. */
static ssize_t send_some(struct peer *peer)
{
    size_t first = peer->sent < peer->ready ? peer->sent : peer->ready;
    struct iovec parts[] = {
        {peer->out + first, peer->ready - first},
        {(char *)(uintptr_t)peer->body.data + (peer->sent - first),
         peer->body.size - (peer->sent - first)},
    };
    ssize_t size;
    if (peer->stream.tls || !parts[1].iov_len) {
        struct iovec *part = parts[0].iov_len ? parts : parts + 1;
        return stream_send(&peer->stream, part->iov_base, part->iov_len);
    }
    size = writev(peer->stream.fd, parts, 2);
    return size < 0 && errno == EAGAIN ? AGAIN : size;
}

/* Send what is ready: 0 when the client doesn't take it all now, -1 when it is gone. */
static int flush(struct peer *peer)
{
    while (peer->sent < peer->ready + peer->body.size) {
        ssize_t size = send_some(peer);
        if (size <= 0)
            return size == AGAIN ? 0 : -1;
        peer->sent += (size_t)size;
        if (!peer->stream.tls && peer->sent < peer->ready + peer->body.size)
            return 0;
    }
    peer->ready = peer->sent = peer->body.size = 0;
    return 1;
}

static void watch(struct peer *peer, int waiting)
{
    struct epoll_event event = {.events = waiting ? EPOLLOUT : EPOLLIN, .data.ptr = peer};
    if (peer->waiting != waiting)
        epoll_ctl(poller, EPOLL_CTL_MOD, peer->stream.fd, &event);
    peer->waiting = waiting;
}

/* Answer the lines that are there, in one write unless a body is between: as flush. */
static int answer_lines(struct peer *peer)
{
    char *at = peer->in, *limit = at + peer->held, *feed;
    int result = 1;
    while (result == 1 && !peer->leaving && (feed = memchr(at, '\n', (size_t)(limit - at)))) {
        struct reply reply = answer(peer, at, (size_t)(feed - at) + 1);
        at = feed + 1;
        if (peer->ready + reply.size <= OUT) {
            memcpy(peer->out + peer->ready, reply.data, reply.size);
            peer->ready += reply.size;
        } else {
            peer->body = reply;
            result = flush(peer);
        }
    }
    peer->held = (size_t)(limit - at);
    memmove(peer->in, at, peer->held);
    return result == 1 ? flush(peer) : result;
}

/* Send a line: as flush. */
static int say(struct peer *peer, const char *line)
{
    peer->ready = strlen(line);
    memcpy(peer->out, line, peer->ready);
    return flush(peer);
}

static void serve(struct peer *peer)
{
    int result;
#ifdef WITH_TLS
    if (peer->stream.shaking) {
        result = stream_shake(&peer->stream);
        if (result == 1)
            result = say(peer, "+OK\r\n");
        if (result == -1)
            leave(peer);
        return;
    }
#endif
    if (peer->waiting) {
        result = flush(peer);
        if (result == 1)
            result = answer_lines(peer);
    } else {
        ssize_t size = stream_receive(&peer->stream, peer->in + peer->held, IN - peer->held);
        if (size == AGAIN)
            return;
        peer->held += size > 0 ? (size_t)size : 0;
        result = size > 0 ? answer_lines(peer) : -1;
    }
    if (result < 0 || (result == 1 && peer->leaving))
        leave(peer);
    else
        watch(peer, result == 0);
}

static void greet(int *listener)
{
    int on = 1, fd = accept4(*listener, NULL, NULL, SOCK_NONBLOCK);
    struct peer *peer;
    struct epoll_event event = {.events = EPOLLIN};
    if (fd < 0)
        return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    peer = malloc(sizeof *peer);
    memset(peer, 0, offsetof(struct peer, in));
    peer->stream.fd = fd;
    event.data.ptr = peer;
    epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
#ifdef WITH_TLS
    if (listener == &listeners[1]) {
        accept_tls(&peer->stream);
        return;
    }
#endif
    if (say(peer, "+OK\r\n") < 0)
        leave(peer);
}

/* The port of a new listener. */
static int listen_on(int *listener)
{
    struct sockaddr_in here = {.sin_family = AF_INET};
    socklen_t size = sizeof here;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = listener};
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    *listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (bind(*listener, (struct sockaddr *)&here, size) != 0 || listen(*listener, 1024) != 0)
        exit(1);
    getsockname(*listener, (struct sockaddr *)&here, &size);
    epoll_ctl(poller, EPOLL_CTL_ADD, *listener, &event);
    return ntohs(here.sin_port);
}

int main(int count, char **argument)
{
    struct epoll_event ready[64];
    int port, tls_port = 0;
    FILE *file;
    if (count != 3 && count != 5)
        return 2;
    signal(SIGPIPE, SIG_IGN);
    load_boxes(argument[1]);
    poller = epoll_create1(0);
    port = listen_on(&listeners[0]);
#ifdef WITH_TLS
    if (count == 5) {
        context = server_context(argument[3], argument[4]);
        tls_port = listen_on(&listeners[1]);
    }
#endif
    file = fopen(argument[2], "w");
    fprintf(file, "%d %d\n", port, tls_port);
    fclose(file);
    for (;;) {
        int found = epoll_wait(poller, ready, 64, -1);
        for (int i = 0; i < found; i++) {
            int *listener = ready[i].data.ptr;
            if (listener == &listeners[0] || listener == &listeners[1])
                greet(listener);
            else
                serve(ready[i].data.ptr);
        }
    }
}
