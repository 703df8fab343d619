/* Logs every message as it is, or so many bytes for `long N`, and fails with it if it begins with `fail `. */
#include <callsign.h>

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

CALLSIGN_PLUGIN("log-lines", "1.0");

#ifdef HANG_AT_EXIT
#include <unistd.h>

__attribute__((destructor)) static void destructor(void)
{
	for (;;)
		pause();
}
#endif

void message(struct connection *c, uint8_t op, const void *data, size_t length)
{
	static char text[1024];

	(void)op;
	if (length >= sizeof(text))
		length = sizeof(text) - 1;
	memcpy(text, data, length);
	text[length] = '\0';
	if (strncmp(text, "long ", 5) == 0) {
		size_t size = strtoul(text + 5, NULL, 10);
		char *record = malloc(size + 1);
		if (record == NULL)
			abort();
		memset(record, 'x', size);
		record[size] = '\0';
		callsign_log(CALLSIGN_LEVEL_INFO, record);
		free(record);
		callsign_text(c, "logged");
		return;
	}
	if (strncmp(text, "fail ", 5) == 0) {
		callsign_fail(text);
		return;
	}
	callsign_log(CALLSIGN_LEVEL_INFO, text);
	callsign_text(c, "logged");
}
