/* websockets PORT CONNECTIONS SECONDS BYTES: round trips of one frame a connection; prints rate, p50 and p99 in us.
 * SECONDS 0: open them, say "open", and hold them until standard input ends. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MOST 20000
static double sent_at[MOST];
static int got[MOST], fds[MOST];
static float took[20 * 1000 * 1000];

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static int by_size(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

int main(int count, char **arguments) {
    if (count < 5) return 2;
    int port = atoi(arguments[1]), wanted = atoi(arguments[2]), size = atoi(arguments[4]), one = 1;
    double seconds = atof(arguments[3]);
    static const char ask[] =
        "GET /user/u1/ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    address.sin_port = htons(port);
    int loop = epoll_create1(0);
    char data[70000] = {0};
    for (int i = 0; i < wanted; i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(fds[i], (void *)&address, sizeof address)) return perror("connect"), 1;
        setsockopt(fds[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (send(fds[i], ask, sizeof ask - 1, 0) < 0) return 1;
        int used = 0;
        do {
            ssize_t part = recv(fds[i], data + used, sizeof data - 1 - used, 0);
            if (part <= 0) return fprintf(stderr, "closed during the upgrade\n"), 1;
            used += part;
            data[used] = 0;
        } while (!strstr(data, "\r\n\r\n"));
        if (strncmp(data, "HTTP/1.1 101", 12)) return fprintf(stderr, "no upgrade: %.60s\n", data), 1;
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
        epoll_ctl(loop, EPOLL_CTL_ADD, fds[i], &event);
    }
    if (seconds == 0) {
        puts("open");
        fflush(stdout);
        return (int)(read(0, data, 1) < 0);
    }
    /* A masked binary frame with a key of zeros; the echo is the same bytes. */
    int head = size < 126 ? 6 : 8, frame = head + size;
    memset(data, 'x', frame);
    data[0] = (char)0x82;
    if (size < 126) {
        data[1] = (char)(0x80 | size);
        memset(data + 2, 0, 4);
    } else {
        data[1] = (char)(0x80 | 126);
        data[2] = (char)(size >> 8);
        data[3] = (char)size;
        memset(data + 4, 0, 4);
    }
    static char in[262144];
    long trips = 0;
    double began = now(), end = began + seconds;
    for (int i = 0; i < wanted; i++) {
        sent_at[i] = now();
        if (send(fds[i], data, frame, 0) != frame) return 1;
    }
    struct epoll_event events[256];
    while (now() < end) {
        int ready = epoll_wait(loop, events, 256, 100);
        for (int e = 0; e < ready; e++) {
            int i = events[e].data.u32;
            ssize_t part = recv(fds[i], in, sizeof in, 0);
            if (part <= 0) return fprintf(stderr, "closed\n"), 1;
            got[i] += part;
            if (got[i] < frame) continue;
            got[i] = 0;
            double at = now();
            if (trips < (long)(sizeof took / sizeof *took)) took[trips++] = (float)((at - sent_at[i]) * 1e6);
            sent_at[i] = at;
            if (send(fds[i], data, frame, 0) != frame) return 1;
        }
    }
    double passed = now() - began;
    if (!trips) return 1;
    qsort(took, trips, sizeof *took, by_size);
    printf("%.1f %.1f %.1f\n", trips / passed, took[trips / 2], took[(long)(trips * 0.99)]);
    return 0;
}
