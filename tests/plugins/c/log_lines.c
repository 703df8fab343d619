/* Logs every message as it is, and fails with it if it begins with `fail `. */
#include <callsign.h>

#include <stdint.h>
#include <string.h>

CALLSIGN_PLUGIN("log-lines", "1.0");

void message(struct connection *c, uint8_t op, const void *data, size_t length)
{
	static char text[1024];

	(void)op;
	if (length >= sizeof(text))
		length = sizeof(text) - 1;
	memcpy(text, data, length);
	text[length] = '\0';
	if (strncmp(text, "fail ", 5) == 0) {
		callsign_fail(text);
		return;
	}
	callsign_log(CALLSIGN_LEVEL_INFO, text);
	callsign_text(c, "logged");
}
