/* Reads an archive from standard input by guest-assets/init/child/archive.c: a line for each entry, or what is wrong. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "child/archive.h"

static const char *show(const struct entry *entry, void *context)
{
    (void)context;
    printf("%s %o %u:%u ", entry->name, (unsigned)entry->mode, (unsigned)entry->uid, (unsigned)entry->gid);
    fwrite(entry->content, 1, entry->size, stdout);
    putchar('\n');
    return NULL;
}

int main(int argc, char **argv)
{
    size_t size = 0, found;
    ssize_t count;
    char *data = malloc(1 << 20);
    while ((count = read(0, data + size, (1 << 20) - size)) > 0)
        size += (size_t)count;
    char *exact = realloc(data, size + 1); /* so that a byte beyond it is seen */
    if (argc > 1) {
        char *content = archive_find(exact, size, argv[1], &found);
        return content ? fwrite(content, 1, found, stdout) != found : 3;
    }
    const char *wrong = archive_read(exact, size, show, NULL);
    if (wrong)
        printf("wrong: %s\n", wrong);
    return wrong ? 2 : 0;
}
