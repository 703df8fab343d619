/* Handles signals itself, and answers `count` with their number and `who` with its process id. */
#define _GNU_SOURCE
#include "callsign.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

CALLSIGN_PLUGIN("own-signals", "1.0");

static volatile sig_atomic_t count;

static void on_signal(int signal)
{
	(void)signal;
	count++;
}

static int32_t load_hook(const struct callsign_load *load);
CALLSIGN_ONLOAD(load_hook);
static int32_t load_hook(const struct callsign_load *load)
{
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	(void)load;
	sigaction(SIGUSR1, &action, NULL);
	sigaction(SIGUSR2, &action, NULL);
	sigaction(SIGALRM, &action, NULL);
	return 1;
}

void message(struct connection *c, uint8_t op, const void *data, size_t length)
{
	char text[20];
	(void)op;
	snprintf(text, sizeof text, "%d", length == 3 && memcmp(data, "who", 3) == 0 ? (int)getpid() : (int)count);
	callsign_text(c, text);
}
