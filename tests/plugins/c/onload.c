/* Load hooks, and plain functions that a config file can name. -DHOOKS is the number of hooks: 0, 1 or 2. */
#include "callsign.h"

CALLSIGN_PLUGIN("", "1.2");

#ifndef HOOKS
#define HOOKS 0
#endif

static void say(const char *text)
{
	callsign_log(CALLSIGN_LEVEL_INFO, text);
}

void join(struct connection *c)
{
	callsign_text(c, "welcome");
}

static void greet(struct connection *c)
{
	join(c);
}
CALLSIGN_ONCONNECT(greet);

#if HOOKS > 0
static int32_t first(const struct callsign_load *load)
{
	say(load->function ? "first with a function" : "first without a function");
	return load->function ? ((int32_t(*)(int))load->function)(42) : 1;
}
CALLSIGN_ONLOAD(first);

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
	callsign_fail_at("not today", NULL, 0);
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
CALLSIGN_ONLOAD(second);
#endif
