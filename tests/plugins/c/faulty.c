/* A plugin with one handler of each kind, and with one fault: -DFAULT_… says which. */
#include "abi.h"

#include <unistd.h>

__attribute__((unused)) static void release(struct connection *c)
{
	(void)c;
}

#if defined FAULT_NO_DESCRIPTOR
#elif defined FAULT_MAGIC
const char callsign_plugin[256] = "not what the name says";
#elif defined FAULT_SHORT
const struct callsign_plugin callsign_plugin = {CALLSIGN_MAGIC, 1, 0, 64, NAME, "1.2", 0, 0, &host, release,
	NULL, NULL, NULL, NULL};
#elif defined FAULT_NO_SLOT
const struct callsign_plugin callsign_plugin = {CALLSIGN_MAGIC, 1, 0, 168, NAME, "1.2", 0, 0, NULL, release,
	NULL, NULL, NULL, NULL};
#else
PLUGIN(release);
#endif

#define HANDLER(name, kind)                                                                                    \
	const struct callsign_handler callsign_handler_##name = {sizeof(struct callsign_handler), kind,        \
		(void (*)(void))name}

static void join(struct connection *c)
{
	host->send(c, TEXT, "welcome", 7);
}
HANDLER(join, ONCONNECT);

static void message(struct connection *c, uint8_t op, const void *data, size_t length)
{
	host->send(c, op, data, length);
}
HANDLER(message, ONMESSAGE);

static int32_t page(struct callsign_request *request)
{
	return host->respond_body(request, "page", 4) == 0;
}
HANDLER(page, ONREQUEST);

#ifdef FAULT_KIND
HANDLER(release, 77);
#endif

#if defined FAULT_REFUSES || defined FAULT_TWO_HOOKS
static int32_t load(const struct callsign_load *load)
{
	(void)load;
	return 0;
}
HANDLER(load, ONLOAD);
#endif

#ifdef FAULT_REFUSES_PROBE
static int32_t load(const struct callsign_load *load)
{
	return !load->probe || (host->fail("it is tried out", 15, NULL, 0), 0);
}
HANDLER(load, ONLOAD);
#endif

#if defined FAULT_BORN_CRASHING || defined FAULT_BORN_HANGING
__attribute__((constructor)) static void born(void)
{
#ifdef FAULT_BORN_CRASHING
	*(volatile int *)16 = 1;
#endif
	for (;;)
		pause();
}
#endif

#ifdef FAULT_TWO_HOOKS
static int32_t again(const struct callsign_load *load)
{
	return load != NULL;
}
HANDLER(again, ONLOAD);
#endif

#ifdef FAULT_UNRESOLVED
void defined_nowhere(void);
void (*const wanted)(void) = defined_nowhere;
#endif
