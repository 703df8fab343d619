/* A plugin with one handler of each kind, and the fault that -DFAULT_… selects. */
#include "callsign.h"

#include <unistd.h>

__attribute__((unused)) static void release(struct connection *c)
{
	(void)c;
}

/* Written by hand, because the macros of the header cannot produce faults. */
#ifndef ABI_MAJOR
#define ABI_MAJOR 1
#endif
#ifndef ABI_MINOR
#define ABI_MINOR 0
#endif
#define PLUGIN(magic, size, slot)                                                                                  \
	const struct callsign_plugin callsign_plugin = {magic, ABI_MAJOR, ABI_MINOR, size, NAME, "1.2", 0, 0,     \
		slot, release, NULL, NULL, NULL, NULL}

#if defined FAULT_NO_DESCRIPTOR
#elif defined FAULT_MAGIC
PLUGIN(0, sizeof(struct callsign_plugin), &callsign_host_table);
#elif defined FAULT_SHORT
PLUGIN(CALLSIGN_MAGIC, 64, &callsign_host_table);
#elif defined FAULT_NO_SLOT
PLUGIN(CALLSIGN_MAGIC, 168, NULL);
#else
PLUGIN(CALLSIGN_MAGIC, sizeof(struct callsign_plugin), &callsign_host_table);
#endif

static void join(struct connection *c)
{
	callsign_text(c, "welcome");
}
CALLSIGN_ONCONNECT(join);

static void message(struct connection *c, uint8_t op, const void *data, size_t length)
{
	callsign_send(c, op, data, length);
}
CALLSIGN_ONMESSAGE(message);

static int32_t page(struct callsign_request *request)
{
	return callsign_respond_body(request, "page", 4) == CALLSIGN_STATUS_SENT;
}
CALLSIGN_ONREQUEST(page);

#ifdef FAULT_KIND
const struct callsign_handler callsign_handler_release = {sizeof(struct callsign_handler), 77, {release}};
#endif

#if defined FAULT_REFUSES || defined FAULT_TWO_HOOKS
static int32_t load(const struct callsign_load *load)
{
	(void)load;
	return 0;
}
CALLSIGN_ONLOAD(load);
#endif

#ifdef FAULT_REFUSES_PROBE
static int32_t load(const struct callsign_load *load)
{
	return !load->probe || (callsign_fail_at("it is tried out", NULL, 0), 0);
}
CALLSIGN_ONLOAD(load);
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
CALLSIGN_ONLOAD(again);
#endif

#ifdef FAULT_UNRESOLVED
void defined_nowhere(void);
void (*const wanted)(void) = defined_nowhere;
#endif
