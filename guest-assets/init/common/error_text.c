#include "common/error_text.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

const char *reason(int error)
{
    static char text[128];
    snprintf(text, sizeof text, "%s", strerror(error));
    text[0] = (char)tolower((unsigned char)text[0]);
    return text;
}
