// SPDX-License-Identifier: LGPL-2.1-or-later
// flood BYTES LINE: print so many bytes, in lines of LINE bytes with the newline.
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char text[1 << 16];

int main(int argc, char **argv) {
    if (argc != 3)
        return 2;
    long left = atol(argv[1]);
    size_t line = atol(argv[2]), lines = sizeof text / line;
    memset(text, 'x', lines * line);
    for (size_t i = 1; i <= lines; i++)
        text[i * line - 1] = '\n';
    while (left > 0) {
        size_t most = (size_t)left < lines * line ? (size_t)left : lines * line;
        for (size_t done = 0; done < most;) {
            ssize_t n = write(1, text + done, most - done);
            if (n < 0)
                return 1;
            done += n;
        }
        left -= most;
    }
    return 0;
}
