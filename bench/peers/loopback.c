/* What the loopback device of this machine moves, for bench/all-reduce.ts: two processes and one TCP connection, each
 * sending and receiving the given number of bytes at once, with nothing else to do.
 *
 * `run N` in the named pipe <prefix>-0 is answered with N times in milliseconds, of the slower process, in <prefix>-0-out.
 * Arguments: bytes, prefix.
 *
 *   cc -O3 loopback.c -o loopback
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000.0 + time.tv_nsec / 1e6;
}

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static double exchange(int fd, const char *from, char *into, size_t bytes) {
  double began = now();
  size_t sent = 0, got = 0;
  while (sent < bytes || got < bytes) {
    struct pollfd wait = {fd, (got < bytes ? POLLIN : 0) | (sent < bytes ? POLLOUT : 0), 0};
    if (poll(&wait, 1, -1) < 0) fail("poll");
    if (wait.revents & POLLOUT) {
      ssize_t n = send(fd, from + sent, bytes - sent, 0);
      if (n < 0 && errno != EAGAIN) fail("send");
      if (n > 0) sent += n;
    }
    if (wait.revents & (POLLIN | POLLHUP)) {
      ssize_t n = recv(fd, into + got, bytes - got, 0);
      if (n == 0 || (n < 0 && errno != EAGAIN)) fail("recv");
      if (n > 0) got += n;
    }
  }
  return now() - began;
}

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  size_t bytes = strtoul(argv[1], NULL, 10);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof address;
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  if (bind(listener, (struct sockaddr *)&address, size) != 0 || listen(listener, 1) != 0) fail("listen");
  getsockname(listener, (struct sockaddr *)&address, &size);
  int orders[2], times[2];
  if (pipe(orders) != 0 || pipe(times) != 0) fail("pipe");

  pid_t child = fork();
  int fd = child == 0 ? socket(AF_INET, SOCK_STREAM, 0) : accept(listener, NULL, NULL);
  if (child == 0 && connect(fd, (struct sockaddr *)&address, size) != 0) fail("connect");
  int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  fcntl(fd, F_SETFL, O_NONBLOCK);
  char *from = malloc(bytes), *into = malloc(bytes);
  memset(from, 1, bytes);
  memset(into, 2, bytes);

  if (child == 0) {
    close(orders[1]);
    char order;
    while (read(orders[0], &order, 1) == 1) {
      double time = exchange(fd, from, into, bytes);
      if (write(times[1], &time, sizeof time) != sizeof time) return 1;
    }
    return 0;
  }
  close(orders[0]);
  char path[512];
  snprintf(path, sizeof path, "%s-0", argv[2]);
  FILE *in = fopen(path, "r");
  snprintf(path, sizeof path, "%s-0-out", argv[2]);
  FILE *out = fopen(path, "w");
  if (in == NULL || out == NULL) fail("pipes");
  fprintf(out, "\"ready\"\n");
  fflush(out);
  int count;
  while (fscanf(in, " run %d", &count) == 1) {
    for (int i = 0; i < count; i++) {
      double theirs;
      if (write(orders[1], "x", 1) != 1) return 1;
      double ours = exchange(fd, from, into, bytes);
      if (read(times[0], &theirs, sizeof theirs) != sizeof theirs) return 1;
      fprintf(out, "%s%.6f", i == 0 ? "[" : ",", ours > theirs ? ours : theirs);
    }
    fprintf(out, "]\n");
    fflush(out);
  }
  return 0;
}
