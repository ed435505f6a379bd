#include "cli/launch_output.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/sys.h"

/* A piece that is all line ends grows by a prefix a byte, and one more line end each. */
enum {
    piece = 16 << 10,
    line_max = 32 << 10,
    room = 256 << 10,
    pending_max = room + 2 * (piece + line_max) * (int)sizeof(((struct dhole__stream *)0)->prefix),
    line_wait_terminal_ms = 100, /* a person waits for what is asked there */
    line_wait_ms = 1000,         /* and a program would rather have whole lines */
    word_max = sizeof(((struct dhole__marks *)0)->word)
};

void dhole__sink_init(struct dhole__sink *sink, int fd)
{
    const char *term = getenv("TERM");

    *sink = (struct dhole__sink){.fd = fd};
    sink->terminal = isatty(fd);
    sink->colored =
        sink->terminal && getenv("NO_COLOR") == NULL && term != NULL && strcmp(term, "dumb") != 0;
    dhole__buf_init(&sink->pending, pending_max);
}

void dhole__sink_free(struct dhole__sink *sink)
{
    dhole__buf_free(&sink->pending);
}

bool dhole__sink_same(const struct dhole__sink *a, const struct dhole__sink *b)
{
    struct stat x, y;

    return fstat(a->fd, &x) == 0 && fstat(b->fd, &y) == 0 && x.st_dev == y.st_dev &&
           x.st_ino == y.st_ino;
}

bool dhole__sink_has_room(const struct dhole__sink *sink)
{
    return sink->pending.len < room;
}

/* A write of PIPE_BUF bytes does not block where poll() says so; the descriptor itself may
 * belong to others too, and is left as it is. */
void dhole__sink_flush(struct dhole__sink *sink)
{
    size_t done = 0;

    while (done < sink->pending.len && sink->fault == 0) {
        struct pollfd fd = {.fd = sink->fd, .events = POLLOUT};
        size_t left = sink->pending.len - done;
        ssize_t n;
        if (dhole__sys.poll(&fd, 1, 0) <= 0)
            break;
        n = write(sink->fd, sink->pending.data + done, left < PIPE_BUF ? left : PIPE_BUF);
        if (n > 0)
            done += (size_t)n;
        else if (n < 0 && errno != EINTR && errno != EAGAIN)
            sink->fault = errno;
    }
    dhole__buf_drop(&sink->pending, sink->fault ? sink->pending.len : done);
}

static dhole_err add(struct dhole__sink *sink, const void *text, size_t length)
{
    return sink->fault ? DHOLE_OK : dhole__buf_add(&sink->pending, text, length);
}

/* Ends a line that somebody left open. */
static dhole_err end_open_line(struct dhole__sink *sink)
{
    bool open = sink->open != NULL;

    sink->open = NULL;
    return open ? add(sink, "\n", 1) : DHOLE_OK;
}

void dhole__sink_say(struct dhole__sink *sink, const char *line)
{
    if (end_open_line(sink) != DHOLE_OK || add(sink, line, strlen(line)) != DHOLE_OK ||
        add(sink, "\n", 1) != DHOLE_OK)
        return; /* no room: the streams fill it, and the exit code says it too */
}

void dhole__stream_init(struct dhole__stream *stream, int fd, struct dhole__sink *sink, int rank,
                        bool raw, struct dhole__marks *marks)
{
    static const int colors[] = {32, 33, 34, 35, 36, 31};

    *stream = (struct dhole__stream){.fd = fd, .sink = sink, .raw = raw, .marks = marks};
    dhole__buf_init(&stream->line, line_max + piece + word_max);
    if (sink->colored)
        snprintf(stream->prefix, sizeof stream->prefix, "\033[%dm[%d]\033[0m ",
                 colors[(size_t)rank % (sizeof colors / sizeof colors[0])], rank);
    else
        snprintf(stream->prefix, sizeof stream->prefix, "[%d] ", rank);
}

/* Writes some of a line, all of it if `ended`, and begins it unless that was done before. */
static dhole_err put(struct dhole__stream *stream, const void *text, size_t length, bool ended)
{
    struct dhole__sink *sink = stream->sink;
    dhole_err err = DHOLE_OK;

    if (sink->open != stream) {
        err = end_open_line(sink);
        if (err == DHOLE_OK)
            err = add(sink, stream->prefix, strlen(stream->prefix));
    }
    if (err == DHOLE_OK)
        err = add(sink, text, length);
    sink->open = ended ? NULL : stream;
    return err;
}

static dhole_err put_unfinished(struct dhole__stream *stream)
{
    size_t length = stream->line.len;
    dhole_err err;

    if (length == 0)
        return DHOLE_OK;
    err = put(stream, stream->line.data, length, false);
    dhole__buf_drop(&stream->line, length);
    return err;
}

/* Passes on the lines of stream->line that are complete. */
static dhole_err put_lines(struct dhole__stream *stream)
{
    const char *begin = (const char *)stream->line.data, *end;
    size_t left = stream->line.len;
    dhole_err err = DHOLE_OK;

    while (err == DHOLE_OK && left > 0 && (end = memchr(begin, '\n', left)) != NULL) {
        size_t length = (size_t)(end - begin) + 1;
        err = put(stream, begin, length, true);
        begin += length;
        left -= length;
    }
    dhole__buf_drop(&stream->line, stream->line.len - left);
    if (err == DHOLE_OK && stream->line.len > line_max)
        err = put_unfinished(stream);
    return err;
}

static dhole_err take(struct dhole__stream *stream, const void *data, size_t n)
{
    bool new_line = stream->line.len == 0;
    dhole_err err;

    if (stream->marks != NULL)
        err = dhole__marks_feed(stream->marks, data, n, &stream->line);
    else
        err = dhole__buf_add(&stream->line, data, n);
    if (err)
        return err;
    if (new_line)
        stream->line_due =
            dhole__deadline_in(stream->sink->terminal ? line_wait_terminal_ms : line_wait_ms);
    if (!stream->raw)
        return put_lines(stream);
    err = add(stream->sink, stream->line.data, stream->line.len);
    dhole__buf_drop(&stream->line, stream->line.len);
    return err;
}

static dhole_err end_stream(struct dhole__stream *stream)
{
    close(stream->fd);
    stream->fd = -1;
    return put_unfinished(stream);
}

dhole_err dhole__stream_read(struct dhole__stream *stream)
{
    char text[piece];
    ssize_t n;

    if (!dhole__sink_has_room(stream->sink))
        return DHOLE_OK;
    n = read(stream->fd, text, sizeof text);
    if (n > 0)
        return take(stream, text, (size_t)n);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return DHOLE_OK;
    return end_stream(stream);
}

dhole_err dhole__stream_drain(struct dhole__stream *stream)
{
    struct pollfd fd = {.fd = stream->fd, .events = POLLIN};
    dhole_err err = DHOLE_OK;

    while (err == DHOLE_OK && stream->fd >= 0 && dhole__sys.poll(&fd, 1, 0) > 0 &&
           dhole__sink_has_room(stream->sink))
        err = dhole__stream_read(stream);
    if (err == DHOLE_OK && stream->fd >= 0 && dhole__sink_has_room(stream->sink))
        err = end_stream(stream);
    return err;
}

dhole_err dhole__stream_due(struct dhole__stream *stream)
{
    if (stream->line.len == 0 || dhole__deadline_ms(stream->line_due) > 0 ||
        !dhole__sink_has_room(stream->sink))
        return DHOLE_OK;
    return put_unfinished(stream);
}

void dhole__stream_free(struct dhole__stream *stream)
{
    if (stream->fd >= 0)
        close(stream->fd);
    stream->fd = -1;
    dhole__buf_free(&stream->line);
}
