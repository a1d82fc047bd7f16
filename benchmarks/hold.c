/* Holds sessions: logs in as many as are asked for, and stays.
 *
 * hold PORT CHANNEL PREFIX PASSWORD SOURCES
 *
 * CHANNEL is clear or tls. Session i is PREFIX<i>, from one of SOURCES addresses of
 * 127.0.0.0/8. Lines on standard input say what to do, a line on standard output says how
 * many did, and the last reply: `hold FROM TO` logs in sessions FROM up to, and without, TO;
 * `noop` asks each held one whether it's alive; `drop COUNT` closes the last ones. It ends
 * with its input.
 */
#define _GNU_SOURCE
#include "stream.h"

#include <signal.h>
#include <sys/time.h>

enum { PATIENCE_SECONDS = 60, EACH_SOURCE = 4096 };

static struct stream *streams;
static int held;
static char trouble[120];
#ifdef WITH_TLS
static SSL_CTX *context;
#endif

/* One reply of one line: whether it is +OK. Nothing may follow it. */
static int read_ok(struct stream *stream)
{
    char reply[1024];
    size_t size = 0;
    do {
        ssize_t more = stream_receive(stream, reply + size, sizeof reply - 1 - size);
        if (more <= 0) {
            snprintf(trouble, sizeof trouble, "%s",
                     more == 0 ? "closed" : more == AGAIN ? "no answer" : strerror(errno));
            return 0;
        }
        size += (size_t)more;
    } while (!memchr(reply, '\n', size) && size < sizeof reply - 1);
    reply[size] = '\0';
    reply[strcspn(reply, "\r\n")] = '\0';
    snprintf(trouble, sizeof trouble, "%.100s", reply);
    return !memcmp(reply, "+OK", 3);
}

static int ask(struct stream *stream, const char *line)
{
    return stream_send(stream, line, strlen(line)) == (ssize_t)strlen(line) && read_ok(stream);
}

static int log_in(struct stream *stream, int port, int number, char **argument)
{
    char source[32], line[200];
    struct timeval patience = {.tv_sec = PATIENCE_SECONDS};
    snprintf(source, sizeof source, "127.0.0.%d", 2 + number / EACH_SOURCE % atoi(argument[5]));
    if (stream_connect(stream, port, source) != 0) {
        snprintf(trouble, sizeof trouble, "connect: %s", strerror(errno));
        return 0;
    }
    setsockopt(stream->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
#ifdef WITH_TLS
    if (context) {
        stream_inside(stream, context);
        if (stream_shake(stream) != 1) {
            snprintf(trouble, sizeof trouble, "the handshake failed");
            return 0;
        }
    }
#endif
    if (!read_ok(stream))
        return 0;
    snprintf(line, sizeof line, "USER %s%d\r\n", argument[3], number);
    if (!ask(stream, line))
        return 0;
    snprintf(line, sizeof line, "PASS %s\r\n", argument[4]);
    return ask(stream, line);
}

static int hold(int from, int to, char **argument)
{
    int before = held;
    streams = realloc(streams, (size_t)(held + to - from) * sizeof *streams);
    for (int number = from; number < to; number++) {
        memset(&streams[held], 0, sizeof *streams);
        if (!log_in(&streams[held], atoi(argument[1]), number, argument)) {
            stream_close(&streams[held]);
            break;
        }
        held++;
    }
    return held - before;
}

static int alive(void)
{
    int found = 0;
    for (int number = 0; number < held; number++)
        found += ask(&streams[number], "NOOP\r\n");
    return found;
}

static int drop(int count)
{
    int before = held;
    while (held > 0 && before - held < count)
        stream_close(&streams[--held]);
    return before - held;
}

int main(int count, char **argument)
{
    char line[100];
    int from, to;
    if (count != 6)
        return 2;
    signal(SIGPIPE, SIG_IGN);
#ifdef WITH_TLS
    if (!strcmp(argument[2], "tls"))
        context = stream_context(0);
#endif
    if (strcmp(argument[2], "clear") && strcmp(argument[2], "tls"))
        return 2;
#ifndef WITH_TLS
    if (!strcmp(argument[2], "tls"))
        return 3;
#endif
    while (fgets(line, sizeof line, stdin)) {
        int done;
        trouble[0] = '\0';
        if (sscanf(line, "hold %d %d", &from, &to) == 2 && from <= to)
            done = hold(from, to, argument);
        else if (sscanf(line, "drop %d", &from) == 1)
            done = drop(from);
        else
            done = alive();
        printf("%d %s\n", done, trouble);
        fflush(stdout);
    }
    return 0;
}
