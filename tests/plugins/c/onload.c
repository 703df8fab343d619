/* Load hooks: none, one or two, and plain functions that a config file can name. -DHOOKS says how many. */
#include "abi.h"

#include <stdio.h>
#include <string.h>

PLUGIN(NULL);

#ifndef HOOKS
#define HOOKS 0
#endif

static void say(const char *text)
{
	host->log(&host, 3, text, strlen(text));
}

void join(struct connection *c)
{
	host->send(c, TEXT, "welcome", 7);
}

const struct callsign_handler callsign_handler_greet = {
	sizeof(struct callsign_handler), ONCONNECT, (void (*)(void))join};

#if HOOKS > 0
struct whole_load {
	struct callsign_load load;
	const void *state;
	size_t state_length;
	uint32_t state_version, probe;
	void (*function)(void);
};

static int32_t first(const struct whole_load *load)
{
	say(load->function ? "first with a function" : "first without a function");
	return load->function ? ((int32_t(*)(int))load->function)(42) : 1;
}
const struct callsign_handler callsign_handler_first = {
	sizeof(struct callsign_handler), ONLOAD, (void (*)(void))first};

int32_t init(int number)
{
	char text[40];
	snprintf(text, sizeof text, "init with %d", number);
	say(text);
	return number == 42;
}

int32_t refuses(int number)
{
	(void)number;
	host->fail("not today", 9, NULL, 0);
	return 0;
}
#else
int32_t init(const struct callsign_load *load)
{
	char text[100];
	snprintf(text, sizeof text, "init of %s with %s", load->plugin, load->config);
	say(text);
	return 1;
}
#endif

#if HOOKS > 1
static int32_t second(const struct callsign_load *load)
{
	(void)load;
	say("second");
	return 1;
}
const struct callsign_handler callsign_handler_second = {
	sizeof(struct callsign_handler), ONLOAD, (void (*)(void))second};
#endif
