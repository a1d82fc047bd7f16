/* Load for a POP3 server: sessions side by side on one core, every reply checked.
 *
 * load PORT SCRIPT PREFIX USERS PASSWORD MESSAGES OCTETS DOTS SESSIONS CONCURRENCY
 *
 * Session i logs in as PREFIX<i> when there is a user for each session, else each of the
 * CONCURRENCY places keeps a user of its own: no maildrop is asked for twice at a time.
 * The maildrop has MESSAGES messages of OCTETS octets in all, in which DOTS lines begin
 * with a dot. Prints one line of JSON.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER = 256 * 1024, MAX_MESSAGES = 1000, MAX_STEPS = MAX_MESSAGES + 16, GIVE_UP_MS = 20000 };
enum kind { GREETING, PLAIN, STAT, LIST, UIDL, RETR };

struct step {
    enum kind kind;
    int number;     /* of the message */
    int wait;       /* send nothing beyond this command before its reply is complete */
    char text[80];
};

struct place {
    int fd, user, step, in_body, count, failed;
    long octets, dots, total_octets, total_dots;
    long sizes[MAX_MESSAGES + 1];
    size_t held;
    char *buffer;
};

static struct step steps[MAX_STEPS];
static int step_count, messages, sessions, users, started, finished, running, poller;
static long expected_octets, expected_dots, received, violations;
static const char *prefix, *password, *script;
static char first_violation[200];
static struct sockaddr_in server;

static void violation(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    if (violations++ == 0)
        vsnprintf(first_violation, sizeof first_violation, format, arguments);
    va_end(arguments);
}

static void add(enum kind kind, int number, int wait, const char *format)
{
    struct step *step = &steps[step_count++];
    step->kind = kind;
    step->number = number;
    step->wait = wait;
    snprintf(step->text, sizeof step->text, format, number);
}

static void write_script(void)
{
    int pipelined = !strcmp(script, "pipelined");
    add(GREETING, 0, 1, "");
    add(PLAIN, 0, !pipelined, "USER");
    add(PLAIN, 0, 1, "PASS");
    if (!strcmp(script, "poll") || !strcmp(script, "sync"))
        add(STAT, 0, 1, "STAT\r\n");
    if (!strcmp(script, "sync"))
        add(UIDL, 0, 1, "UIDL\r\n");
    if (strcmp(script, "poll"))
        add(LIST, 0, !pipelined, "LIST\r\n");
    for (int n = 1; n <= messages; n++)
        if (!strcmp(script, "fetch") || pipelined)
            add(RETR, n, !pipelined, "RETR %d\r\n");
        else if (!strcmp(script, "drain"))
            add(PLAIN, n, 1, "DELE %d\r\n");
    add(PLAIN, 0, 1, "QUIT\r\n");
}

static void begin(struct place *place)
{
    int on = 1;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = place};
    place->user = users >= sessions ? started : place->user;
    place->step = place->in_body = place->failed = 0;
    place->total_octets = place->total_dots = 0;
    place->held = 0;
    place->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (place->fd < 0 || connect(place->fd, (struct sockaddr *)&server, sizeof server) != 0) {
        perror("connect");
        exit(1);
    }
    setsockopt(place->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    epoll_ctl(poller, EPOLL_CTL_ADD, place->fd, &event);
    started++;
    running++;
}

static void end(struct place *place)
{
    close(place->fd);
    running--;
    finished++;
    if (started < sessions)
        begin(place);
}

/* Send the commands from the current step on, up to one whose reply has to be awaited. */
static void send_commands(struct place *place)
{
    char out[MAX_STEPS * 24 + 256];
    size_t size = 0;
    for (int at = place->step; at < step_count; at++) {
        if (at == 1)
            size += (size_t)sprintf(out + size, "USER %s%d\r\n", prefix, place->user);
        else if (at == 2)
            size += (size_t)sprintf(out + size, "PASS %s\r\n", password);
        else
            size += (size_t)sprintf(out + size, "%s", steps[at].text);
        if (steps[at].wait)
            break;
    }
    if (send(place->fd, out, size, MSG_NOSIGNAL) != (ssize_t)size)
        violation("commands were not taken: %s", strerror(errno));
}

static void next_step(struct place *place)
{
    int waited = steps[place->step++].wait;
    place->in_body = 0;
    if (waited && place->step < step_count)
        send_commands(place);
}

static void check_status(struct place *place, const char *line, size_t size)
{
    struct step *step = &steps[place->step];
    long number = 0, octets = 0;
    if (size < 5 || memcmp(line, "+OK", 3)) {
        violation("%s answered %.*s", script, (int)(size < 60 ? size : 60), line);
        place->step = step_count;   /* nothing after this would mean anything */
        place->failed = 1;
        return;
    }
    if (step->kind == STAT
        && (sscanf(line, "+OK %ld %ld", &number, &octets) != 2 || number != messages
            || octets != expected_octets))
        violation("STAT: %ld messages of %ld octets", number, octets);
    if (step->kind < LIST) {
        next_step(place);
        return;
    }
    place->in_body = 1;
    place->count = 0;
    place->octets = place->dots = 0;
}

static void check_end(struct place *place)
{
    struct step *step = &steps[place->step];
    if (step->kind == RETR && place->octets != place->sizes[step->number])
        violation("RETR %d: %ld octets, LIST said %ld", step->number, place->octets,
                  place->sizes[step->number]);
    if (step->kind != RETR && place->count != messages)
        violation("%d lines for %d messages", place->count, messages);
    if (step->kind == LIST && place->octets != expected_octets)
        violation("LIST: %ld octets in all", place->octets);
    if (step->kind == RETR) {
        place->total_octets += place->octets;
        place->total_dots += place->dots;
        if (step->number == messages
            && (place->total_octets != expected_octets || place->total_dots != expected_dots))
            violation("%ld octets, %ld dots fetched", place->total_octets, place->total_dots);
    }
    next_step(place);
}

static void check_body_line(struct place *place, const char *line, size_t size)
{
    struct step *step = &steps[place->step];
    long octets = 0;
    if (line[0] == '.') {
        if (size == 3) {
            check_end(place);
            return;
        }
        if (step->kind != RETR || line[1] != '.')
            violation("a dot that is not stuffed");
        place->dots++;
        line++;
        size--;
    }
    if (step->kind == RETR) {
        place->octets += (long)size;
        return;
    }
    place->count++;
    if (atoi(line) != place->count || place->count > MAX_MESSAGES)
        violation("line %d is %.*s", place->count, (int)(size < 60 ? size : 60), line);
    else if (step->kind == LIST) {
        if (sscanf(line, "%*d %ld", &octets) != 1)
            violation("LIST: no octets");
        place->sizes[place->count] = octets;
        place->octets += octets;
    }
}

static void check_lines(struct place *place)
{
    char *at = place->buffer, *limit = at + place->held, *feed;
    while (place->step < step_count && (feed = memchr(at, '\n', (size_t)(limit - at)))) {
        size_t size = (size_t)(feed - at) + 1;
        char *cr = memchr(at, '\r', size);
        if (cr != feed - 1)
            violation("a line that does not end in CRLF, or holds a CR");
        if (place->in_body)
            check_body_line(place, at, size);
        else
            check_status(place, at, size);
        at = feed + 1;
    }
    place->held = (size_t)(limit - at);
    memmove(place->buffer, at, place->held);
    if (place->held == BUFFER) {
        violation("a line without end");
        place->held = 0;
    }
}

static void readable(struct place *place)
{
    ssize_t size = recv(place->fd, place->buffer + place->held, BUFFER - place->held, 0);
    if (size <= 0) {
        if (place->step < step_count || place->held)
            violation("closed in step %d: %s", place->step, size < 0 ? strerror(errno) : "end");
        end(place);
        return;
    }
    received += size;
    place->held += (size_t)size;
    if (place->step == step_count && place->held)
        violation("octets after the reply to QUIT");
    check_lines(place);
    if (place->failed)
        end(place);
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

int main(int count, char **argument)
{
    struct epoll_event ready[64];
    double begun;
    int concurrency;
    if (count != 11)
        return 2;
    server.sin_family = AF_INET;
    server.sin_port = htons((unsigned short)atoi(argument[1]));
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    script = argument[2];
    prefix = argument[3];
    users = atoi(argument[4]);
    password = argument[5];
    messages = atoi(argument[6]);
    expected_octets = atol(argument[7]);
    expected_dots = atol(argument[8]);
    sessions = atoi(argument[9]);
    concurrency = atoi(argument[10]);
    if (messages > MAX_MESSAGES || (users < sessions && users < concurrency))
        return 2;
    write_script();
    poller = epoll_create1(0);
    begun = now();
    for (int i = 0; i < concurrency && started < sessions; i++) {
        struct place *place = calloc(1, sizeof *place);
        place->buffer = malloc(BUFFER);
        place->user = i;
        begin(place);
    }
    while (running) {
        int found = epoll_wait(poller, ready, 64, GIVE_UP_MS);
        if (found == 0) {
            violation("no answer for %d s", GIVE_UP_MS / 1000);
            break;
        }
        for (int i = 0; i < found; i++)
            readable(ready[i].data.ptr);
    }
    for (char *c = first_violation; *c; c++)
        if (*c < ' ' || *c > '~' || *c == '"' || *c == '\\')
            *c = '?';
    printf("{\"sessions\": %d, \"seconds\": %.6f, \"octets\": %ld, \"violations\": %ld, "
           "\"first_violation\": \"%s\"}\n",
           finished, now() - begun, received, violations, first_violation);
    return 0;
}
