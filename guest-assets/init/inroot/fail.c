#include "inroot/fail.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static const char *command = "", *subject = "";

static void (*tell)(const char *text);

void fail_in(const char *the_command, const char *its_subject)
{
    command = the_command;
    subject = its_subject;
}

void fail_by(void (*teller)(const char *text))
{
    tell = teller;
}

void fail(const char *format, ...)
{
    char because[512], text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(because, sizeof because, format, arguments);
    va_end(arguments);
    snprintf(text, sizeof text, "%s%s%s: %s", command, *subject ? " " : "", subject, because);
    tell(text);
    exit(1);
}
