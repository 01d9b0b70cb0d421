#include "inroot/fail.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static const char *command, *dest;

void fail_in(const char *the_command, const char *its_dest)
{
    command = the_command;
    dest = its_dest;
}

void fail(const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    fprintf(stderr, "inroot: %s %s: %s\n", command, dest, text);
    exit(1);
}
