/* An ext_authz server that reads nothing and always gives one answer: the floor for any authz.
 *
 * The same as canned.py in C, so that its own cost is next to nothing. It lets everybody in and
 * exists for the benchmark alone. Usage: canned SOCKET HELLO ANSWER
 *   HELLO   file with what a new connection gets: our settings
 *   ANSWER  file with the HTTP/2 frames of one answer, for stream 0
 */
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { DATA = 0, HEADERS = 1, SETTINGS = 4, PING = 6, ACK = 1, END_STREAM = 1 };
enum { PREFACE = 24, HEAD = 9, CONNECTIONS = 64, ROOM = 1 << 20 };

struct connection {
    int greeted;
    size_t length;
    unsigned char received[ROOM];
};

static unsigned char hello[256], answer[8192], out[ROOM];
static size_t hello_length, answer_length, out_length;
static struct pollfd polled[CONNECTIONS];
static struct connection *connections[CONNECTIONS];

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static size_t read_file(const char *path, unsigned char *into, size_t room) {
    FILE *file = fopen(path, "rb");
    if (!file) fail(path);
    size_t length = fread(into, 1, room, file);
    fclose(file);
    if (length == room) fail("too long");
    return length;
}

static size_t payload_length(const unsigned char *frame) {
    return (size_t)frame[0] << 16 | (size_t)frame[1] << 8 | frame[2];
}

static void flush(int number) {
    for (size_t sent = 0; sent < out_length;) {
        ssize_t count = write(number, out + sent, out_length - sent);
        if (count <= 0) break;
        sent += (size_t)count;
    }
    out_length = 0;
}

static void put(int number, const unsigned char *bytes, size_t length) {
    if (out_length + length > ROOM) flush(number);
    memcpy(out + out_length, bytes, length);
    out_length += length;
}

static void put_answer(int number, const unsigned char *stream) {
    for (size_t at = 0; at < answer_length; at += HEAD + payload_length(answer + at))
        memcpy(answer + at + 5, stream, 4);
    put(number, answer, answer_length);
}

/* Answer all whole frames, and keep the rest. */
static void answer_frames(int number, struct connection *one) {
    size_t at = 0;
    if (!one->greeted) {
        if (one->length < PREFACE) return;
        one->greeted = 1;
        at = PREFACE;
    }
    while (one->length - at >= HEAD) {
        unsigned char *frame = one->received + at;
        size_t length = HEAD + payload_length(frame);
        if (one->length - at < length) break;
        int kind = frame[3], flags = frame[4];
        if ((kind == DATA || kind == HEADERS) && flags & END_STREAM) {
            put_answer(number, frame + 5);
        } else if (kind == SETTINGS && !(flags & ACK)) {
            const unsigned char ack[HEAD] = {0, 0, 0, SETTINGS, ACK, 0, 0, 0, 0};
            put(number, ack, HEAD);
        } else if (kind == PING && !(flags & ACK)) {
            frame[4] = ACK;
            put(number, frame, length);
        }
        at += length;
    }
    one->length -= at;
    memmove(one->received, one->received + at, one->length);
    flush(number);
}

int main(int count, char **arguments) {
    if (count != 4) return 2;
    hello_length = read_file(arguments[2], hello, sizeof hello);
    answer_length = read_file(arguments[3], answer, sizeof answer);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(arguments[1]) >= sizeof address.sun_path) return 2;
    strcpy(address.sun_path, arguments[1]);
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&address, sizeof address)) fail("bind");
    if (listen(listener, CONNECTIONS)) fail("listen");
    polled[0] = (struct pollfd){.fd = listener, .events = POLLIN};
    int used = 1;
    for (;;) {
        if (poll(polled, (nfds_t)used, -1) < 0) fail("poll");
        for (int i = used - 1; i > 0; i--) {
            if (!polled[i].revents) continue;
            struct connection *one = connections[i];
            ssize_t got = read(polled[i].fd, one->received + one->length, ROOM - one->length);
            if (got > 0) {
                one->length += (size_t)got;
                answer_frames(polled[i].fd, one);
                continue;
            }
            close(polled[i].fd);
            free(one);
            used--;
            polled[i] = polled[used];
            connections[i] = connections[used];
        }
        if (polled[0].revents && used < CONNECTIONS) {
            int number = accept(listener, NULL, NULL);
            if (number < 0) continue;
            polled[used] = (struct pollfd){.fd = number, .events = POLLIN};
            connections[used] = calloc(1, sizeof **connections);
            if (!connections[used++]) fail("calloc");
            put(number, hello, hello_length);
            flush(number);
        }
    }
}
