// SPDX-License-Identifier: LGPL-2.1-or-later
// first FIFO NUMBER: write NUMBER and the time of the first instruction to a pipe.
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (argc != 3)
        return 2;
    int64_t mark[2] = {atoll(argv[2]), now.tv_sec * 1000000000LL + now.tv_nsec};
    int fd = open(argv[1], O_WRONLY | O_NONBLOCK);
    return fd < 0 || write(fd, mark, sizeof mark) != sizeof mark;
}
