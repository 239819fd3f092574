/* The origin behind the proxies of `run`: as cheap as an HTTP/1.1 server can be, so that the proxy stays what is measured.
 *
 *   origin PORT...          (loopback only; one thread, epoll)
 *
 * It reads the whole request, body included (a server that answers early makes proxies drop the connection), and answers
 * 200 with X-Backend: PORT. The end of the path chooses the body: /64k is 65,536 bytes, /echo the request's own head,
 * /served the number of requests this process has answered so far; anything else is 128 bytes.
 *
 * Request bodies need a Content-Length: none of the load generators sends chunks, and a proxy that turns a sized body
 * into chunks should be noticed, not served. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEAD_MAX = 16384, PORTS_MAX = 8, SMALL = 128, LARGE = 65536 };

struct listener {
    int port;
    char *small, *large; /* whole responses, made once */
    size_t small_len, large_len;
};

/* One per socket that epoll knows; a listening one has no buffers in use. */
struct socket {
    int fd, listening;
    struct listener *on;
    size_t have, body_left;  /* bytes in `in`; bytes of the request body still to come */
    int answering;           /* the head has been read, the answer waits for the body */
    const char *out;         /* what is left of the answer */
    size_t out_len;
    char *own;               /* an answer made for this request, to be freed */
    char in[HEAD_MAX + 1];
};

static struct listener listeners[PORTS_MAX];
static int poller;
static unsigned long long served;

static char *response(int port, const char *body, size_t body_len, size_t *len) {
    char *text = malloc(body_len + 256);
    if (!text) abort();
    int head = sprintf(text, "HTTP/1.1 200 OK\r\nX-Backend: %d\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n\r\n",
                       port, body_len);
    memcpy(text + head, body, body_len);
    *len = (size_t)head + body_len;
    return text;
}

static void watch(struct socket *s, int how, unsigned events) {
    struct epoll_event e = {.events = events, .data.ptr = s};
    if (epoll_ctl(poller, how, s->fd, &e)) abort();
}

static void drop(struct socket *s) {
    close(s->fd);
    free(s->own);
    free(s);
}

static int ends_with(const char *text, size_t len, const char *end) {
    size_t n = strlen(end);
    return len >= n && !memcmp(text + len - n, end, n);
}

/* The answer to the head of `head_len` bytes at the front of s->in. */
static void choose(struct socket *s, size_t head_len) {
    char *target = memchr(s->in, ' ', head_len);
    char *end = target ? memchr(target + 1, ' ', head_len - (size_t)(target + 1 - s->in)) : NULL;
    size_t len = end ? (size_t)(end - target - 1) : 0;
    served++;
    if (len && ends_with(target + 1, len, "/64k")) {
        s->out = s->on->large, s->out_len = s->on->large_len;
    } else if (len && ends_with(target + 1, len, "/echo")) {
        s->out = s->own = response(s->on->port, s->in, head_len, &s->out_len);
    } else if (len && ends_with(target + 1, len, "/served")) {
        char number[32];
        int n = sprintf(number, "%llu\n", served);
        s->out = s->own = response(s->on->port, number, (size_t)n, &s->out_len);
    } else {
        s->out = s->on->small, s->out_len = s->on->small_len;
    }
}

/* Takes one head off the buffer: 1 taken, 0 more bytes needed, -1 not a request this origin serves. */
static int take_head(struct socket *s) {
    s->in[s->have] = 0;
    char *end = memmem(s->in, s->have, "\r\n\r\n", 4);
    if (!end) return s->have == HEAD_MAX ? -1 : 0;
    size_t head_len = (size_t)(end - s->in) + 4;
    choose(s, head_len);
    s->body_left = 0;
    if (memcmp(s->in, "GET ", 4)) { /* spares the search below for nearly all requests */
        end[2] = 0;
        char *length = strcasestr(s->in, "\r\ncontent-length:");
        if (!length) return -1;
        s->body_left = strtoul(length + 17, NULL, 10);
    }
    s->have -= head_len;
    memmove(s->in, s->in + head_len, s->have);
    s->answering = 1;
    return 1;
}

/* Writes what is left of the answer: 1 all of it, 0 the socket is full, -1 the peer is gone. */
static int write_out(struct socket *s) {
    while (s->out_len) {
        ssize_t n = send(s->fd, s->out, s->out_len, MSG_NOSIGNAL);
        if (n < 0) return errno == EAGAIN ? 0 : -1;
        s->out += n, s->out_len -= (size_t)n;
    }
    free(s->own), s->own = NULL;
    s->answering = 0;
    return 1;
}

/* Works through the buffered bytes: 1 wants to read, 0 wants to write, -1 finished with this connection. */
static int progress(struct socket *s) {
    for (;;) {
        if (!s->answering) {
            int taken = take_head(s);
            if (taken <= 0) return taken < 0 ? -1 : 1;
        }
        size_t here = s->have < s->body_left ? s->have : s->body_left;
        s->have -= here, s->body_left -= here;
        memmove(s->in, s->in + here, s->have);
        if (s->body_left) return 1;
        int written = write_out(s);
        if (written <= 0) return written;
    }
}

static void serve(struct socket *s, unsigned events) {
    static char discarded[1 << 18];
    if (events & EPOLLIN) {
        int straight = s->body_left && !s->have; /* the body of an upload is not kept */
        ssize_t n = straight
            ? recv(s->fd, discarded, s->body_left < sizeof discarded ? s->body_left : sizeof discarded, 0)
            : recv(s->fd, s->in + s->have, HEAD_MAX - s->have, 0);
        if (n == 0 || (n < 0 && errno != EAGAIN)) return drop(s);
        if (n > 0 && straight) s->body_left -= (size_t)n;
        else if (n > 0) s->have += (size_t)n;
    }
    int wants = progress(s);
    if (wants < 0) return drop(s);
    if (wants == 0 && !(events & EPOLLOUT)) watch(s, EPOLL_CTL_MOD, EPOLLOUT);
    if (wants == 1 && (events & EPOLLOUT)) watch(s, EPOLL_CTL_MOD, EPOLLIN);
}

static void admit(struct socket *l) {
    for (int fd; (fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct socket *s = calloc(1, sizeof *s);
        if (!s) abort();
        s->fd = fd, s->on = l->on;
        watch(s, EPOLL_CTL_ADD, EPOLLIN);
    }
}

static void listen_on(struct listener *on, int port) {
    static char body[LARGE];
    memset(body, 'x', sizeof body);
    on->port = port;
    on->small = response(port, body, SMALL, &on->small_len);
    on->large = response(port, body, LARGE, &on->large_len);
    struct socket *l = calloc(1, sizeof *l);
    if (!l) abort();
    l->listening = 1, l->on = on;
    l->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    int one = 1;
    setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(l->fd, (void *)&a, sizeof a) || listen(l->fd, 4096)) {
        perror("origin: cannot listen");
        exit(1);
    }
    watch(l, EPOLL_CTL_ADD, EPOLLIN);
}

int main(int argc, char **argv) {
    if (argc < 2 || argc > PORTS_MAX + 1) {
        fprintf(stderr, "usage: origin PORT... (at most %d)\n", PORTS_MAX);
        return 2;
    }
    poller = epoll_create1(0);
    for (int i = 1; i < argc; i++) listen_on(&listeners[i - 1], atoi(argv[i]));
    for (;;) {
        struct epoll_event ready[256];
        int n = epoll_wait(poller, ready, 256, -1);
        for (int i = 0; i < n; i++) {
            struct socket *s = ready[i].data.ptr;
            if (s->listening) admit(s);
            else serve(s, ready[i].events & (EPOLLIN | EPOLLOUT) ? ready[i].events : EPOLLIN);
        }
    }
}
