/* A C plugin with the name and handlers of tests/plugins/state, to replace it and to be replaced by it. -DDATA:
 * connections have data; -DHOOKS: the data is saved as bytes that begin with `C:`. */
#include "callsign.h"

#include <stdlib.h>

static void onconnect(struct connection *c)
{
	char text[64];
#ifdef DATA
	char *data = malloc(8);
	if (data == NULL) {
		callsign_fail("no memory");
		return;
	}
	strcpy(data, "C:mine");
	c->data = data;
#endif
	snprintf(text, sizeof text, "C hello #%llu", (unsigned long long)c->id);
	callsign_text(c, text);
}
CALLSIGN_ONCONNECT(onconnect);

static void onmessage(struct connection *c, uint8_t op, const void *data, size_t length)
{
	char text[64];
	(void)op;
	if (length == 3 && memcmp(data, "get", 3) == 0)
		snprintf(text, sizeof text, "C %s", c->data == NULL ? "nothing" : (const char *)c->data);
	else
		snprintf(text, sizeof text, "C %.*s", (int)length, (const char *)data);
	callsign_text(c, text);
}
CALLSIGN_ONMESSAGE(onmessage);

static void ondisconnect(struct connection *c)
{
	callsign_logf(CALLSIGN_LEVEL_INFO, "#%llu bye from C", (unsigned long long)c->id);
}
CALLSIGN_ONDISCONNECT(ondisconnect);

#ifdef DATA
static void release(struct connection *c)
{
	callsign_logf(CALLSIGN_LEVEL_INFO, "#%llu released by C", (unsigned long long)c->id);
	free(c->data);
}
#define RELEASE release
#else
#define RELEASE NULL
#endif

#ifdef HOOKS
static int32_t save(struct connection *c)
{
	return callsign_save(c->data, strlen(c->data) + 1) == CALLSIGN_STATUS_SENT ? CALLSIGN_SAVED : CALLSIGN_SAVED_FAILED;
}

static int32_t restore(struct connection *c, uint32_t version, const void *state, size_t length)
{
	if (version != 1 || length != 7 || memcmp(state, "C:", 2) != 0) {
		callsign_fail("this is not what a copy in C has saved");
		return 0;
	}
	c->data = malloc(length);
	if (c->data == NULL)
		return 0;
	memcpy(c->data, state, length);
	return 1;
}
#define SAVE save
#define RESTORE restore
#else
#define SAVE NULL
#define RESTORE NULL
#endif

CALLSIGN_PLUGIN_WITH("state", "1.0", .state_version = 1, .release = RELEASE, .save = SAVE, .restore = RESTORE);
