/* Load for a POP3 server: sessions side by side on one core, every reply checked.
 *
 * load PORT CHANNEL SCRIPT PREFIX USERS PASSWORD MESSAGES OCTETS DOTS SESSIONS CONCURRENCY
 *
 * CHANNEL is clear, tls (a full handshake each time) or resumed. Session i logs in as
 * PREFIX<i> when there is a user for each session, else each of the CONCURRENCY places keeps
 * a user of its own: no maildrop is asked for twice at a time. The maildrop has MESSAGES
 * messages of OCTETS octets in all, in which DOTS lines begin with a dot. Prints one line of
 * JSON. SIGTERM ends it early: what has begun is brought to its end and counted.
 */
#include "stream.h"

#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>

enum { BUFFER = 256 * 1024, MAX_FETCHED = 1000, MAX_STEPS = MAX_FETCHED + 16, GIVE_UP_MS = 60000 };
enum kind { GREETING, PLAIN, STAT, LIST, UIDL, RETR };

struct step {
    enum kind kind;
    int number;     /* of the message */
    int wait;       /* send nothing beyond this command before its reply is complete */
    char text[80];
};

struct place {
    struct stream stream;
    int user, step, in_body, count, failed;
    long octets, dots, total_octets, total_dots;
    long *sizes;            /* as LIST gave them, by message-number */
    uint64_t *unique;       /* hashes of the unique-ids of this session; 0: free */
    double begun;
    size_t held;
    char *buffer;
};

static struct step steps[MAX_STEPS];
static int step_count, messages, users, port, concurrency, started, finished, running, poller;
static int resumed, resuming;
static volatile sig_atomic_t sessions;
static size_t unique_slots;
static long expected_octets, expected_dots, received, violations;
static double *lasted;      /* seconds of each session */
static const char *prefix, *password, *script;
static char first_violation[200];
#ifdef WITH_TLS
static SSL_CTX *context;
#endif

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

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
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = place};
    place->user = users >= sessions ? started : place->user;
    place->step = place->in_body = place->failed = 0;
    place->total_octets = place->total_dots = 0;
    place->held = 0;
    place->begun = now();
    if (stream_connect(&place->stream, port, NULL) != 0) {
        perror("connect");
        exit(1);
    }
#ifdef WITH_TLS
    if (context) {
        fcntl(place->stream.fd, F_SETFL, O_NONBLOCK);
        stream_inside(&place->stream, context);
        stream_shake(&place->stream);
    }
#endif
    epoll_ctl(poller, EPOLL_CTL_ADD, place->stream.fd, &event);
    started++;
    running++;
}

static void end(struct place *place)
{
    resumed += place->stream.resumed;
    place->stream.resumed = 0;
    stream_close(&place->stream);
    lasted[finished++] = now() - place->begun;
    running--;
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
    if (stream_send(&place->stream, out, size) != (ssize_t)size)
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
    if (step->kind == UIDL)
        memset(place->unique, 0, unique_slots * sizeof *place->unique);
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

/* A unique-id is 1 to 70 printable characters, and no other message's (RFC 1939, UIDL). */
static void check_unique(struct place *place, const char *line, size_t size)
{
    const char *id = memchr(line, ' ', size), *limit = line + size - 2;
    uint64_t hash = 14695981039346656037u;
    size_t slot;
    if (!id || limit - ++id < 1 || limit - id > 70) {
        violation("UIDL: line %d is %.*s", place->count, (int)(size < 60 ? size : 60), line);
        return;
    }
    for (; id < limit; id++) {
        if (*id < '!' || *id > '~')
            violation("UIDL: a character %d in a unique-id", *id);
        hash = (hash ^ (unsigned char)*id) * 1099511628211u;
    }
    hash |= 1;
    for (slot = hash & (unique_slots - 1); place->unique[slot]; slot = (slot + 1) & (unique_slots - 1))
        if (place->unique[slot] == hash) {
            violation("UIDL: message %d has another's unique-id", place->count);
            return;
        }
    place->unique[slot] = hash;
}

static void check_body_line(struct place *place, const char *line, size_t size)
{
    struct step *step = &steps[place->step];
    char *rest;
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
    if (strtol(line, &rest, 10) != place->count || place->count > messages)
        violation("line %d is %.*s", place->count, (int)(size < 60 ? size : 60), line);
    else if (step->kind == LIST) {
        long octets = strtol(rest, &rest, 10);  /* sscanf would measure the whole buffer */
        if (*rest != '\r')
            violation("LIST: line %d is %.*s", place->count, (int)(size < 60 ? size : 60), line);
        place->sizes[place->count] = octets;
        place->octets += octets;
    } else
        check_unique(place, line, size);
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

/* Take what has come: 0 when the session is over, or has to wait for more. */
static int take(struct place *place)
{
    ssize_t size = stream_receive(&place->stream, place->buffer + place->held, BUFFER - place->held);
    if (size == AGAIN)
        return 0;
    if (size <= 0) {
        if (place->step < step_count || place->held)
            violation("closed in step %d: %s", place->step, size < 0 ? strerror(errno) : "end");
        end(place);
        return 0;
    }
    received += size;
    place->held += (size_t)size;
    if (place->step == step_count && place->held)
        violation("octets after the reply to QUIT");
    check_lines(place);
    if (!place->failed)
        return 1;
    end(place);
    return 0;
}

static void readable(struct place *place)
{
#ifdef WITH_TLS
    if (place->stream.shaking) {
        int shaken = stream_shake(&place->stream);
        if (shaken == AGAIN)
            return;
        if (shaken < 0) {
            violation("the handshake failed");
            end(place);
            return;
        }
    }
#endif
    while (take(place) && place->stream.tls)
        ;
}

static void stop_early(int number)
{
    (void)number;
    sessions = 0;
}

static int by_length(const void *one, const void *other)
{
    double a = *(const double *)one, b = *(const double *)other;
    return (a > b) - (a < b);
}

static double at_rank(double part)
{
    return finished ? lasted[(int)((finished - 1) * part)] * 1e3 : 0;
}

static int choose_channel(const char *channel)
{
    resuming = !strcmp(channel, "resumed");
    if (!strcmp(channel, "clear"))
        return 1;
#ifdef WITH_TLS
    context = stream_context(resuming);
    return resuming || !strcmp(channel, "tls");
#else
    return 0;
#endif
}

static int read_arguments(int count, char **argument)
{
    if (count != 12 || !choose_channel(argument[2]))
        return 0;
    port = atoi(argument[1]);
    script = argument[3];
    prefix = argument[4];
    users = atoi(argument[5]);
    password = argument[6];
    messages = atoi(argument[7]);
    expected_octets = atol(argument[8]);
    expected_dots = atol(argument[9]);
    sessions = atoi(argument[10]);
    concurrency = atoi(argument[11]);
    if (messages > MAX_FETCHED && strcmp(script, "poll") && strcmp(script, "sync"))
        return 0;
    return users >= sessions || users >= concurrency;
}

static void make_place(int user)
{
    struct place *place = calloc(1, sizeof *place);
    place->buffer = malloc(BUFFER);
    place->sizes = calloc((size_t)messages + 1, sizeof *place->sizes);
    place->unique = calloc(unique_slots, sizeof *place->unique);
    place->user = user;
    begin(place);
}

static void print_outcome(double seconds)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    qsort(lasted, (size_t)finished, sizeof *lasted, by_length);
    for (char *c = first_violation; *c; c++)
        if (*c < ' ' || *c > '~' || *c == '"' || *c == '\\')
            *c = '?';
    printf("{\"sessions\": %d, \"seconds\": %.6f, \"octets\": %ld, \"violations\": %ld, "
           "\"first_violation\": \"%s\", \"cpu_seconds\": %.6f, \"resumed\": %d, "
           "\"p50_ms\": %.4f, \"p99_ms\": %.4f, \"longest_ms\": %.4f}\n",
           finished, seconds, received, violations, first_violation,
           (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec)
               + (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6,
           resumed, at_rank(0.5), at_rank(0.99), at_rank(1));
}

int main(int count, char **argument)
{
    struct epoll_event ready[64];
    double begun;
    if (!read_arguments(count, argument))
        return 2;
    signal(SIGTERM, stop_early);
    signal(SIGPIPE, SIG_IGN);
    lasted = calloc((size_t)sessions + 1, sizeof *lasted);
    for (unique_slots = 64; unique_slots < 4 * (size_t)messages; unique_slots *= 2)
        ;
    write_script();
    poller = epoll_create1(0);
    begun = now();
    for (int i = 0; i < concurrency && started < sessions; i++)
        make_place(i);
    while (running) {
        int found = epoll_wait(poller, ready, 64, GIVE_UP_MS);
        if (found == 0) {
            violation("no answer for %d s", GIVE_UP_MS / 1000);
            break;
        }
        for (int i = 0; i < found; i++)
            readable(ready[i].data.ptr);
    }
    if (resuming && resumed < finished - concurrency)
        violation("%d of %d sessions were resumed", resumed, finished);
    print_outcome(now() - begun);
    return 0;
}
