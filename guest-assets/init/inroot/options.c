#include "inroot/options.h"

#include <stdio.h>
#include <string.h>
#include <sys/mount.h>

#include "common/common.h"
#include "inroot/fail.h"

static const struct {
    const char *word;
    unsigned long set, clear;
} FLAGS[] = {
    {"async", 0, MS_SYNCHRONOUS},
    {"atime", 0, MS_NOATIME},
    {"dev", 0, MS_NODEV},
    {"diratime", 0, MS_NODIRATIME},
    {"dirsync", MS_DIRSYNC, 0},
    {"exec", 0, MS_NOEXEC},
    {"lazytime", MS_LAZYTIME, 0},
    {"mand", MS_MANDLOCK, 0},
    {"noatime", MS_NOATIME, 0},
    {"nodev", MS_NODEV, 0},
    {"nodiratime", MS_NODIRATIME, 0},
    {"noexec", MS_NOEXEC, 0},
    {"nolazytime", 0, MS_LAZYTIME},
    {"nomand", 0, MS_MANDLOCK},
    {"norelatime", 0, MS_RELATIME},
    {"nostrictatime", 0, MS_STRICTATIME},
    {"nosuid", MS_NOSUID, 0},
    {"nosymfollow", MS_NOSYMFOLLOW, 0},
    {"relatime", MS_RELATIME, 0},
    {"ro", MS_RDONLY, 0},
    {"rw", 0, MS_RDONLY},
    {"strictatime", MS_STRICTATIME, 0},
    {"suid", 0, MS_NOSUID},
    {"symfollow", 0, MS_NOSYMFOLLOW},
    {"sync", MS_SYNCHRONOUS, 0},
};

static const struct {
    const char *word;
    unsigned long flags;
} PROPAGATION[] = {
    {"private", MS_PRIVATE},
    {"rprivate", MS_PRIVATE | MS_REC},
    {"rshared", MS_SHARED | MS_REC},
    {"rslave", MS_SLAVE | MS_REC},
    {"runbindable", MS_UNBINDABLE | MS_REC},
    {"shared", MS_SHARED},
    {"slave", MS_SLAVE},
    {"unbindable", MS_UNBINDABLE},
};

static void add_data(struct options *options, const char *word)
{
    size_t length = strlen(options->data);
    if (length + strlen(word) + 2 > sizeof options->data)
        fail("options are longer than a page");
    snprintf(options->data + length, sizeof options->data - length, "%s%s", length ? "," : "", word);
}

void read_options(char *text, struct options *options)
{
    memset(options, 0, sizeof *options);
    if (!strcmp(text, "-"))
        return;
    for (char *word = strtok(text, ","); word; word = strtok(NULL, ",")) {
        size_t i = 0;
        while (i < ARRAY_SIZE(FLAGS) && strcmp(FLAGS[i].word, word))
            i++;
        if (i < ARRAY_SIZE(FLAGS)) {
            options->flags = (options->flags & ~FLAGS[i].clear) | FLAGS[i].set;
            options->has_flags = true;
        } else if (!strcmp(word, "tmpcopyup")) {
            options->copy_up = true;
        } else {
            add_data(options, word);
        }
    }
}

unsigned long propagation_flags(const char *word)
{
    for (size_t i = 0; i < ARRAY_SIZE(PROPAGATION); i++)
        if (!strcmp(PROPAGATION[i].word, word))
            return PROPAGATION[i].flags;
    return 0;
}
