/* A plugin for reloads. Its answers begin with -DGENERATION='"2"', and with -DTELL_GENERATION also with the host's
 * number. The other macros select a fault, or how the plugin keeps the notes of its clients. */
#define _GNU_SOURCE
#include "callsign.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef GENERATION
#define GENERATION "1"
#endif
#ifndef STATE_VERSION
#define STATE_VERSION 0
#endif

#ifndef NOTE_SIZE
#define NOTE_SIZE 32
#endif
#ifdef OTHER_NAME
#define NAME "other"
#else
#define NAME "reload"
#endif

/* The text that a client has stored with `set`. */
struct note {
	char text[NOTE_SIZE];
	char plugin[8]; /* the owner, because a connection can have handlers of two plugins */
};

__attribute__((unused)) static char mark[32] = GENERATION; /* prefix of the answers */
static int loaded_notes; /* count of the previous generation, as seen at load */
__attribute__((unused)) static int notes;

__attribute__((unused)) static struct note *new_note(void)
{
	struct note *note = calloc(1, sizeof *note);
	strcpy(note->plugin, NAME);
	return note;
}

static void release(struct connection *c)
{
	struct note *note = c->data;
	if (note == NULL || strcmp(note->plugin, NAME) != 0)
		return;
	callsign_logf(CALLSIGN_LEVEL_INFO, "%s: released %s", GENERATION, note->text);
	free(note);
}

#ifdef HOOKS
static int32_t save(struct connection *c)
{
	struct note *note = c->data;
#ifndef GREEDY
	if (strcmp(note->plugin, NAME) != 0)
		return CALLSIGN_SAVED_NOT_MINE;
#endif
	if (strcmp(note->text, "unsavable") == 0) {
		callsign_fail("this note is not for saving");
		return CALLSIGN_SAVED_FAILED;
	}
	if (strcmp(note->text, "restart") == 0)
		return CALLSIGN_SAVED_RESTART;
	if (callsign_text(c, "from a save hook") != CALLSIGN_STATUS_NOT_NOW)
		return CALLSIGN_SAVED_FAILED;
	/* Receivers cannot change now, because the reload may still be rejected. */
	if (callsign_worker_receive(1, NULL) != CALLSIGN_STATUS_NOT_NOW)
		return CALLSIGN_SAVED_FAILED;
	return callsign_save(note->text, strlen(note->text)) == 0 ? CALLSIGN_SAVED : CALLSIGN_SAVED_FAILED;
}

static int32_t restore(struct connection *c, uint32_t version, const void *state, size_t length)
{
	if (memmem(state, length, "crash", 5) != NULL)
		raise(SIGSEGV);
	if (memmem(state, length, "unrestorable", 12) != NULL) {
		callsign_fail("field `text`: not a note");
		return 0;
	}
#ifdef NO_RESTORE_IN_WORKER
	if (callsign_worker_index() == 1) {
		callsign_fail("not restored on worker 1");
		return 0;
	}
#endif
	struct note *note = new_note();
	snprintf(note->text, sizeof note->text, "%.*s v%u", (int)length, (const char *)state, version);
	c->data = note;
	return callsign_text(c, "from a restore hook") == CALLSIGN_STATUS_NOT_NOW;
}

static int32_t save_plugin(void)
{
	return callsign_save(&notes, sizeof notes) == 0 ? CALLSIGN_SAVED : CALLSIGN_SAVED_FAILED;
}

static int32_t restore_plugin(uint32_t version, const void *state, size_t length)
{
	(void)version;
	if (length != sizeof notes)
		return 0;
	memcpy(&notes, state, length);
	return 1;
}

CALLSIGN_PLUGIN_HOOKS(NAME, GENERATION, STATE_VERSION, release, save, restore, save_plugin, restore_plugin);
#else
CALLSIGN_PLUGIN_HOOKS(NAME, GENERATION, STATE_VERSION, release, NULL, NULL, NULL, NULL);
#endif

#if defined CRASH_CONSTRUCTOR || defined HANG_CONSTRUCTOR || defined TELL_CONSTRUCTOR || defined GATE
__attribute__((constructor)) static void constructor(void)
{
#ifdef CRASH_CONSTRUCTOR
	raise(SIGSEGV);
#elif defined TELL_CONSTRUCTOR || defined GATE
	fprintf(stderr, GENERATION ": constructed by %s\n", program_invocation_name);
#ifdef GATE
	/* Worker 1 loads the library when this file exists. */
	while (strstr(program_invocation_name, "worker 1") != NULL && access(GATE, F_OK) != 0)
		usleep(1000);
#endif
#else
	for (;;)
		pause();
#endif
}
#endif

#if defined TIMER || defined REMOVE_TIMERS
static void tick(void *data, struct connection *c)
{
	(void)data, (void)c;
}
#endif

/* Gives every client without a note one, outside of its own handlers. */
__attribute__((unused)) static void fill(const char *text)
{
	for (uint64_t id = 1; id <= 16; id++) {
		struct connection *c = callsign_find(id);
		if (c != NULL && c->data == NULL) {
			struct note *note = c->data = new_note();
			strcpy(note->text, text);
		}
	}
}

static int32_t load(const struct callsign_load *load)
{
	(void)load;
#ifdef TABLE
	/* Statics refer to it, and nothing frees it. */
	static char *table;
	if (!load->probe)
		table = memset(malloc(TABLE), 1, TABLE);
	callsign_logf(CALLSIGN_LEVEL_INFO, "%s: a table at %p", GENERATION, (void *)table);
#endif
#ifdef REFUSE
	callsign_fail("not today");
	return 0;
#endif
#ifdef CRASH_ONLOAD
	raise(SIGSEGV);
#endif
#ifdef HANG_ONLOAD
	for (;;)
		pause();
#endif
#ifdef CRASH_IN_WORKER
	if (!load->probe && callsign_worker_index() == 1)
		raise(SIGSEGV);
#endif
#ifdef LONG_REASON
	if (!load->probe) {
		char *reason = malloc(2 << 20);
		memset(reason, '\x01', 2 << 20);
		reason[(2 << 20) - 1] = 0;
		callsign_fail(reason);
		free(reason);
		return 0;
	}
#endif
#ifdef REFUSE_IN_WORKER
	if (!load->probe && callsign_worker_index() == 1) {
		callsign_fail("not on worker 1");
		return 0;
	}
#endif
#ifdef SLOW_IN_WORKER
	if (!load->probe && callsign_worker_index() == 1)
		sleep(3);
#endif
#ifdef TELL_GENERATION
	snprintf(mark, sizeof mark, GENERATION ".%u", load->generation);
#endif
#ifdef EARLY
	fill("early");
#endif
#ifdef REFUSE_AT_LAST
	if (!load->probe) {
		callsign_fail("not after all");
		return 0;
	}
#endif
#ifdef TIMER
	callsign_every(NULL, 3600 * 1000, tick, NULL, NULL);
#endif
#ifdef REMOVE_TIMERS
	/* Timers of the previous generation cannot be removed yet; timers of this one can. */
	int removed = 0;
	uint64_t own = callsign_every(NULL, 3600 * 1000, tick, NULL, NULL);
	for (uint64_t id = 1; id < own; id++)
		removed += callsign_timer_remove(id) == CALLSIGN_STATUS_SENT;
	int own_removed = callsign_timer_remove(own) == CALLSIGN_STATUS_SENT;
	callsign_logf(CALLSIGN_LEVEL_INFO, "%s: removed %d of others and %d own", GENERATION, removed, own_removed);
#endif
	if (load->state_length == sizeof loaded_notes)
		memcpy(&loaded_notes, load->state, sizeof loaded_notes);
	callsign_logf(CALLSIGN_LEVEL_INFO, "%s: loaded as generation %u%s", GENERATION, load->generation,
		load->probe ? " in a probe" : "");
	return 1;
}
CALLSIGN_ONLOAD(load);

static void unload(void)
{
#ifdef SLOW_UNLOAD
	if (callsign_worker_index() == 1)
		sleep(2);
#endif
#ifdef LATE
	fill("late");
#endif
	callsign_logf(CALLSIGN_LEVEL_INFO, "%s: unloaded", GENERATION);
}
CALLSIGN_ONUNLOAD(unload);

static void join(struct connection *c)
{
	callsign_text(c, "join " GENERATION);
}
CALLSIGN_ONCONNECT(join);

__attribute__((unused)) static int is(const void *data, size_t length, const char *text)
{
	return length == strlen(text) && memcmp(data, text, length) == 0;
}

#ifdef RENAMED
#define message messages
#endif

#ifdef OTHER_KIND
static void message(struct connection *c)
{
	callsign_text(c, "not a message");
}
CALLSIGN_ONCONNECT(message);
#else
/* `who`, `where`, `nap`, `doze`, `set TEXT`, `get`, `notes`, `bye`, `flood`. Anything else is echoed after the generation, or broadcast to all
 * others if it begins with `!`. */
static void message(struct connection *c, uint8_t op, const void *data, size_t length)
{
	char text[48 + NOTE_SIZE];
	struct note *note = c->data;
	if (is(data, length, "who")) {
		callsign_text(c, mark);
	} else if (is(data, length, "where")) {
		snprintf(text, sizeof text, "worker %u", callsign_worker_index());
		callsign_text(c, text);
	} else if (is(data, length, "nap")) {
		callsign_logf(CALLSIGN_LEVEL_INFO, "%s: naps", GENERATION);
		sleep(3);
		callsign_text(c, "awake");
	} else if (is(data, length, "doze")) {
		usleep(500 * 1000);
		callsign_text(c, "awake");
	} else if (length > 4 && memcmp(data, "set ", 4) == 0) {
		if (note == NULL)
			c->data = note = new_note();
		snprintf(note->text, sizeof note->text, "%.*s", (int)length - 4, (const char *)data + 4);
		notes++;
		callsign_text(c, "set");
	} else if (is(data, length, "get")) {
		snprintf(text, sizeof text, "%s %s", mark, note == NULL ? "nothing" : note->text);
		callsign_text(c, text);
	} else if (is(data, length, "bye")) {
		callsign_close(c, 1000, "bye");
	} else if (is(data, length, "flood")) {
		/* More than all queues between the workers can hold. */
		char *flood = calloc(1, 256 << 10);
		for (int i = 0; i < 24; i++)
			callsign_broadcast(NULL, CALLSIGN_OP_BINARY, flood, 256 << 10, CALLSIGN_SCOPE_GLOBAL);
		free(flood);
	} else if (is(data, length, "notes")) {
		snprintf(text, sizeof text, "%s %d %d", mark, notes, loaded_notes);
		callsign_text(c, text);
	} else {
		size_t marked = strlen(mark) + 1;
		char *echo = malloc(marked + length);
		memcpy(echo, mark, marked - 1);
		echo[marked - 1] = ':';
		memcpy(echo + marked, data, length);
		if (length > 0 && *(const char *)data == '!')
			callsign_broadcast(c, op, echo, marked + length, CALLSIGN_SCOPE_GLOBAL);
		else
			callsign_send(c, op, echo, marked + length);
		free(echo);
	}
}
CALLSIGN_ONMESSAGE(message);
#endif

static void leave(struct connection *c)
{
	callsign_logf(CALLSIGN_LEVEL_INFO, "%s: connection %d left with %d", GENERATION, (int)c->id,
		callsign_close_code(c));
}
CALLSIGN_ONDISCONNECT(leave);

#ifndef NO_PAGE
static int32_t page(struct callsign_request *request)
{
	return callsign_respond_body(request, "page " GENERATION, sizeof "page " GENERATION - 1) == 0;
}
CALLSIGN_ONREQUEST(page);
#endif

/* Binds handlers that no route names. */
static int32_t upgrade(struct callsign_request *request)
{
	return callsign_handshake(request, "join", "message", "leave") == 0;
}
CALLSIGN_ONREQUEST(upgrade);

static int32_t hang(struct callsign_request *request)
{
	(void)request;
	pause();
	return 1;
}
CALLSIGN_ONREQUEST(hang);
