/* What every proxy under test stands before: 200 bytes of JSON for any path, under a head that is never the same twice
 * for paths with "/vary"; 10 MB for paths with "/big"; bodies are read and thrown away, upgrades are echoed. One thread, epoll; fast enough never to be what is measured. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define BIG (10 * 1000 * 1000)
#define BUFFER 65536

struct peer {
    int fd, echoing, used;
    long unsent, body; /* bytes of a big answer still to send; of a request's body still to come */
    char data[BUFFER];
};

static char small[512], big_head[128], chunk[262144];
static int small_size, loop;
static unsigned answered;

static void drop(struct peer *p) { close(p->fd); free(p); }

static int out(struct peer *p, const char *data, long size) {
    while (size > 0) {
        ssize_t sent = send(p->fd, data, size, MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno == EAGAIN) continue; /* small answers always fit in time */
            return -1;
        }
        data += sent;
        size -= sent;
    }
    return 0;
}

static int pump(struct peer *p) {
    while (p->unsent > 0) {
        ssize_t sent = send(p->fd, chunk, p->unsent < (long)sizeof chunk ? p->unsent : (long)sizeof chunk, MSG_NOSIGNAL);
        if (sent < 0) return errno == EAGAIN ? 0 : -1;
        p->unsent -= sent;
    }
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = p};
    return epoll_ctl(loop, EPOLL_CTL_MOD, p->fd, &event);
}

static int answer(struct peer *p, char *head, int size) {
    char *length = strcasestr(head, "\r\ncontent-length:"), *upgrade = strcasestr(head, "\r\nupgrade:");
    p->body = length && length < head + size ? atol(length + 17) : 0;
    if (upgrade && upgrade < head + size) {
        static const char said[] =
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        p->echoing = 1;
        return out(p, said, sizeof said - 1);
    }
    char *line = memchr(head, '\n', size);
    char *big = strstr(head, "/big");
    if (big && big < line) {
        if (out(p, big_head, strlen(big_head)) < 0) return -1;
        p->unsent = BIG;
        struct epoll_event event = {.events = EPOLLOUT, .data.ptr = p};
        epoll_ctl(loop, EPOLL_CTL_MOD, p->fd, &event);
        return pump(p);
    }
    if (p->body) return 0; /* answered when it is all there */
    char *vary = strstr(head, "/vary");
    if (vary && vary < line) {
        char varied[512];
        int varied_size = snprintf(varied, sizeof varied,
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nEtag: \"%010u\"\r\nContent-Length: 200\r\n\r\n{%*s}",
            answered++, 198, "");
        return out(p, varied, varied_size);
    }
    return out(p, small, small_size);
}

static int take(struct peer *p) {
    for (;;) {
        if (p->body > 0) {
            ssize_t got = recv(p->fd, chunk, p->body < (long)sizeof chunk ? p->body : (long)sizeof chunk, 0);
            if (got <= 0) return got < 0 && errno == EAGAIN ? 0 : -1;
            p->body -= got;
            if (p->body == 0 && out(p, small, small_size) < 0) return -1;
            continue;
        }
        ssize_t got = recv(p->fd, p->data + p->used, BUFFER - 1 - p->used, 0);
        if (got <= 0) return got < 0 && errno == EAGAIN ? 0 : -1;
        if (p->echoing) {
            if (out(p, p->data, got) < 0) return -1;
            continue;
        }
        p->used += got;
        p->data[p->used] = 0;
        char *at = p->data, *end;
        while ((end = strstr(at, "\r\n\r\n"))) {
            if (answer(p, at, end + 4 - at) < 0) return -1;
            at = end + 4;
            long rest = p->used - (at - p->data), part = rest < p->body ? rest : p->body;
            if (p->body > 0) {
                p->body -= part;
                at += part;
                if (p->body == 0 && out(p, small, small_size) < 0) return -1;
            }
        }
        p->used -= at - p->data;
        memmove(p->data, at, p->used);
    }
}

int main(int count, char **arguments) {
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    small_size = snprintf(small, sizeof small,
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 200\r\n\r\n{%*s}", 198, "");
    snprintf(big_head, sizeof big_head, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", BIG);
    memset(chunk, 'x', sizeof chunk);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    address.sin_port = htons(count > 1 ? atoi(arguments[1]) : 9000);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (void *)&address, sizeof address) || listen(listener, 4096)) return perror("listen"), 1;
    loop = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL}, events[256];
    epoll_ctl(loop, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int ready = epoll_wait(loop, events, 256, -1);
        for (int i = 0; i < ready; i++) {
            struct peer *p = events[i].data.ptr;
            if (!p) {
                int fd;
                while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                    p = calloc(1, sizeof *p);
                    p->fd = fd;
                    event = (struct epoll_event){.events = EPOLLIN, .data.ptr = p};
                    epoll_ctl(loop, EPOLL_CTL_ADD, fd, &event);
                }
            } else if ((p->unsent ? pump(p) : take(p)) < 0) {
                drop(p);
            }
        }
    }
}
