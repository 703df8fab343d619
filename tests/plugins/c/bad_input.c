/* Invalid calls. Each returns the status that callsign.h documents, and none crashes or closes anything. A command
 * makes some of them, then reports the number of checks and of failed checks; the log has the failed ones. */
#define _POSIX_C_SOURCE 200809L
#include "callsign.h"

#include <pthread.h>
#include <stdlib.h>

static int checks, wrong;

#define CHECK(fact) \
	do { \
		checks++; \
		if (!(fact)) { \
			wrong++; \
			callsign_logf(CALLSIGN_LEVEL_ERROR, "wrong, line %d: %s", __LINE__, #fact); \
		} \
	} while (0)

enum {
	CLOSED = CALLSIGN_STATUS_CLOSED,
	TOO_LARGE = CALLSIGN_STATUS_TOO_LARGE,
	BAD_ARGUMENT = CALLSIGN_STATUS_BAD_ARGUMENT,
	NOT_FOUND = CALLSIGN_STATUS_NOT_FOUND,
	WRONG_KIND = CALLSIGN_STATUS_WRONG_KIND,
	NOT_UPGRADE = CALLSIGN_STATUS_NOT_UPGRADE,
	WRONG_THREAD = CALLSIGN_STATUS_WRONG_THREAD,
	NOT_NOW = CALLSIGN_STATUS_NOT_NOW,
	TEXT = CALLSIGN_OP_TEXT,
	LOCAL = CALLSIGN_SCOPE_LOCAL
};

#define HOST callsign_host_table
#define ME &callsign_host_table

static uint64_t ended_id; /* of the last connection that has ended */

static void say_result(char text[80])
{
	snprintf(text, 80, "%d checks, %d wrong", checks, wrong);
	checks = wrong = 0;
}

static void report(struct connection *c)
{
	char text[80];
	say_result(text);
	callsign_text(c, text);
}

static void never(void *data, struct connection *c)
{
	(void)data, (void)c;
	CHECK(!"called");
}

static void never_free(void *data)
{
	never(data, NULL);
}

static void received(uint32_t worker, uint32_t id, const void *data, size_t length)
{
	CHECK(worker != callsign_worker_index() && worker < callsign_worker_count());
	CHECK(data != NULL);
	callsign_logf(CALLSIGN_LEVEL_INFO, "received %u: %zu bytes", (unsigned)id, length);
}

/* ---- NULL and length 0 ---- */

static void nulls(struct connection *c)
{
	const char *name = "name", *value = "value";
	uint64_t unknown = UINT64_MAX;
	CHECK(HOST->broadcast(c, TEXT, NULL, 1, LOCAL) == BAD_ARGUMENT);
	CHECK(HOST->broadcast(NULL, CALLSIGN_OP_PING, NULL, 0, LOCAL) == CALLSIGN_STATUS_SENT);
	CHECK(HOST->send(NULL, TEXT, NULL, 0) == BAD_ARGUMENT);
	CHECK(HOST->send(c, CALLSIGN_OP_PONG, "unused", 0) == CALLSIGN_STATUS_SENT);
	CHECK(HOST->close(NULL, 1000, NULL, 0) == BAD_ARGUMENT);
	CHECK(HOST->close(c, 1000, NULL, 1) == BAD_ARGUMENT);
	CHECK(HOST->close(c, 65535, NULL, 0) == BAD_ARGUMENT);
	CHECK(HOST->find(unknown) == NULL);
	CHECK(HOST->peer(NULL) == NULL && HOST->path(NULL) == NULL && HOST->query(NULL) == NULL);
	CHECK(HOST->header(NULL, "host") == NULL && HOST->header(c, NULL) == NULL);
	CHECK(HOST->header(c, "") == NULL && HOST->header(c, "\xff") == NULL);
	CHECK(HOST->header_at(NULL, 0, &name, &value) == 0 && HOST->header_at(c, 0, NULL, &value) == 0);
	CHECK(HOST->header_at(c, 0, &name, NULL) == 0);
	CHECK(strcmp(name, "name") == 0 && strcmp(value, "value") == 0);
	CHECK(HOST->close_code(NULL) == 0 && HOST->close_reason(NULL) == NULL && HOST->closed_by(NULL) == 0);
	CHECK(HOST->request_header(NULL, "host") == NULL && HOST->request_header(NULL, NULL) == NULL);
	CHECK(HOST->request_header_at(NULL, 0, &name, &value) == 0);
	CHECK(HOST->respond_status(NULL, 200) == BAD_ARGUMENT);
	CHECK(HOST->respond_header(NULL, "x", "y") == BAD_ARGUMENT);
	CHECK(HOST->respond_body(NULL, "x", 1) == BAD_ARGUMENT);
	CHECK(HOST->handshake(NULL, NULL, NULL, NULL) == BAD_ARGUMENT);
	CHECK(HOST->fail(NULL, 1, NULL, 0) == BAD_ARGUMENT);
	CHECK(HOST->extension(NULL) == NULL && HOST->extension("\xff") == NULL);
	HOST->log(ME, 99, "a level that is none", 20);
	HOST->log(NULL, CALLSIGN_LEVEL_INFO, "a caller that is none", 21);
	HOST->log(ME, CALLSIGN_LEVEL_INFO, NULL, 1);
	HOST->log(ME, CALLSIGN_LEVEL_INFO, NULL, 0);
	HOST->log(ME, CALLSIGN_LEVEL_INFO, "\xff no UTF-8", 10);
	CHECK(HOST->timer_add(ME, c->id, 0, 0, NULL, c, never_free) == 0);
	CHECK(HOST->timer_add(NULL, c->id, 0, 0, never, NULL, never_free) == 0);
	CHECK(HOST->timer_add(ME, unknown, 0, 0, never, NULL, never_free) == 0);
	CHECK(HOST->timer_remove(0) == NOT_FOUND && HOST->timer_remove(unknown) == NOT_FOUND);
	CHECK(HOST->background(ME, c->id, NULL, never, NULL, never_free) == BAD_ARGUMENT);
	CHECK(HOST->background(NULL, c->id, never_free, never, NULL, never_free) == BAD_ARGUMENT);
	CHECK(HOST->background(ME, unknown, never_free, never, NULL, never_free) == CLOSED);
	CHECK(HOST->save("x", 1) == NOT_NOW && HOST->save(NULL, 0) == NOT_NOW);
	CHECK(HOST->save(NULL, 1) == BAD_ARGUMENT);
	CHECK(HOST->worker_send(NULL, CALLSIGN_ALL_WORKERS, 1, "x", 1) == BAD_ARGUMENT);
	CHECK(HOST->worker_send(ME, CALLSIGN_ALL_WORKERS, 1, NULL, 1) == BAD_ARGUMENT);
	CHECK(HOST->worker_receive(NULL, 1, received) == BAD_ARGUMENT);
	CHECK(HOST->worker_receive(NULL, 1, NULL) == BAD_ARGUMENT);
}

/* A timer with the longest delay, which does not fire during the test, and one with the shortest interval. */
static void far_timer(struct connection *c)
{
	uint64_t id = callsign_after(c, UINT64_MAX, never, NULL, NULL);
	CHECK(id != 0);
	CHECK(callsign_timer_remove(id) == CALLSIGN_STATUS_SENT && callsign_timer_remove(id) == NOT_FOUND);
	CHECK(callsign_every(c, 0, never, NULL, never_free) == 0);
}

/* ---- Other workers ---- */

/* The server accepts messages of up to 1 KiB. With more than one worker only 20, 21, 22 and then 23 arrive. */
static void workers(void)
{
	static const char large[1025];
	const struct callsign_host *not_mine = HOST;
	const uint32_t all = CALLSIGN_ALL_WORKERS, me = callsign_worker_index(), count = callsign_worker_count();
	CHECK(me < count);
	CHECK(callsign_worker_send(me, 1, "myself", 6) == NOT_FOUND);
	CHECK(callsign_worker_send(count, 2, "x", 1) == NOT_FOUND && callsign_worker_send(all - 1, 3, "x", 1) == NOT_FOUND);
	CHECK(callsign_worker_send(all, 4, NULL, 1) == BAD_ARGUMENT);
	CHECK(callsign_worker_send(all, 5, large, sizeof large) == TOO_LARGE);
	CHECK(HOST->worker_send(&not_mine, all, 6, "x", 1) == BAD_ARGUMENT);
	CHECK(HOST->worker_send(NULL, all, 7, "x", 1) == BAD_ARGUMENT);
	CHECK(HOST->worker_receive(&not_mine, 8, received) == BAD_ARGUMENT);
	CHECK(callsign_worker_receive(9, NULL) == CALLSIGN_STATUS_SENT);
	CHECK(callsign_worker_send(all, 20, NULL, 0) == CALLSIGN_STATUS_SENT);
	CHECK(callsign_worker_send(all, 21, "", 0) == CALLSIGN_STATUS_SENT);
	CHECK(callsign_worker_send(all, 22, large, sizeof large - 1) == CALLSIGN_STATUS_SENT);
	if (count > 1)
		CHECK(callsign_worker_send(me == 0 ? 1 : 0, 23, "last", 4) == CALLSIGN_STATUS_SENT);
}

/* ---- Other threads ---- */

static uint32_t worker_index, worker_count;

static void note_worker(void)
{
	worker_index = callsign_worker_index();
	worker_count = callsign_worker_count();
}

static void on_another_thread(void *data)
{
	struct connection *c = data;
	const char *name = NULL, *value = NULL;
	CHECK(callsign_text(c, "x") == WRONG_THREAD && HOST->send(NULL, 0, NULL, 1) == WRONG_THREAD);
	CHECK(callsign_broadcast_text(c, "x", LOCAL) == WRONG_THREAD);
	CHECK(callsign_close(c, 1000, "") == WRONG_THREAD);
	CHECK(callsign_find(c->id) == NULL);
	CHECK(callsign_peer(c) == NULL && callsign_path(c) == NULL && callsign_query(c) == NULL);
	CHECK(callsign_header(c, "host") == NULL && callsign_header_at(c, 0, &name, &value) == 0);
	CHECK(callsign_close_code(c) == 0 && callsign_close_reason(c) == NULL && callsign_closed_by(c) == 0);
	CHECK(callsign_request_header(NULL, "host") == NULL);
	CHECK(callsign_respond_status(NULL, 200) == WRONG_THREAD);
	CHECK(callsign_respond_header(NULL, "x", "y") == WRONG_THREAD);
	CHECK(callsign_respond_body(NULL, "x", 1) == WRONG_THREAD);
	CHECK(callsign_handshake(NULL, NULL, NULL, NULL) == WRONG_THREAD);
	CHECK(callsign_fail("not in a callback") == WRONG_THREAD && callsign_in_callback() == 0);
	CHECK(callsign_after(c, 0, never, NULL, never_free) == 0 && callsign_timer_remove(1) == WRONG_THREAD);
	CHECK(callsign_background(c, never_free, never, NULL, never_free) == WRONG_THREAD);
	CHECK(callsign_save("x", 1) == WRONG_THREAD);
	CHECK(callsign_worker_send(CALLSIGN_ALL_WORKERS, 1, "x", 1) == WRONG_THREAD);
	CHECK(HOST->worker_send(NULL, 1000, 1, NULL, 1) == WRONG_THREAD);
	CHECK(callsign_worker_receive(1, received) == WRONG_THREAD && callsign_worker_receive(1, NULL) == WRONG_THREAD);
	CHECK(callsign_extension("none/1") == NULL);
	CHECK(callsign_worker_index() == worker_index && callsign_worker_count() == worker_count);
	callsign_log(CALLSIGN_LEVEL_INFO, "from another thread");
}

static void *thread_main(void *data)
{
	on_another_thread(data);
	return NULL;
}

static void thread(struct connection *c)
{
	pthread_t other;
	note_worker();
	CHECK(pthread_create(&other, NULL, thread_main, c) == 0 && pthread_join(other, NULL) == 0);
}

static void pool_done(void *data, struct connection *c)
{
	CHECK(data == c);
	report(c);
}

/* ---- Callbacks that fail ---- */

static void fail_later(void *data, struct connection *c)
{
	(void)data, (void)c;
	callsign_fail("at first");
	CHECK(HOST->fail("a later callback fails", 22, NULL, 7) == CALLSIGN_STATUS_SENT);
}

static void fail_free(void *data)
{
	(void)data;
	HOST->fail("what is freed fails", 19, "", 0);
}

static void no_work(void *data)
{
	(void)data;
}

/* ---- Handlers ---- */

static void join(struct connection *c)
{
	if (strcmp(callsign_query(c), "fail") == 0)
		HOST->fail("", 0, NULL, 0);
}
CALLSIGN_ONCONNECT(join);

static void message(struct connection *c, uint8_t op, const void *data, size_t length)
{
	const char *text = data;
#define IS(word) (length == strlen(word) && memcmp(text, word, length) == 0)
	CHECK(op == TEXT && data != NULL);
	if (IS("nulls"))
		nulls(c);
	else if (IS("far timer"))
		far_timer(c);
	else if (IS("thread"))
		thread(c);
	else if (IS("workers"))
		workers();
	else if (IS("pool")) {
		note_worker();
		CHECK(callsign_background(c, on_another_thread, pool_done, c, NULL) == 0);
		return;
	} else if (IS("timer fails")) {
		CHECK(callsign_after(c, 0, fail_later, NULL, fail_free) != 0);
		return;
	} else if (IS("done fails")) {
		CHECK(callsign_background(c, no_work, fail_later, NULL, fail_free) == 0);
		return;
	} else if (IS("nobody's timer fails")) {
		CHECK(callsign_after(NULL, 0, fail_later, NULL, fail_free) != 0);
	} else if (IS("after")) {
		CHECK(ended_id != 0 && callsign_find(ended_id) == NULL);
		CHECK(HOST->timer_add(ME, ended_id, 0, 0, never, NULL, never_free) == 0);
		CHECK(HOST->background(ME, ended_id, never_free, never, NULL, never_free) == CLOSED);
	} else
		CHECK(length == 0);
	report(c);
}
CALLSIGN_ONMESSAGE(message);

/* The statuses of a connection that has ended, while the plugin may still use it. */
static void ended(struct connection *c)
{
	CHECK(callsign_text(c, "late") == CLOSED && callsign_close(c, 1000, "late") == CLOSED);
	CHECK(callsign_find(c->id) == NULL);
	CHECK(callsign_after(c, 0, never, NULL, never_free) == 0);
	CHECK(callsign_background(c, never_free, never, NULL, never_free) == CLOSED);
	CHECK(callsign_broadcast(c, CALLSIGN_OP_PING, NULL, 0, LOCAL) == CALLSIGN_STATUS_SENT);
	CHECK(callsign_close_code(c) != 0 && callsign_close_reason(c) != NULL && callsign_closed_by(c) != 0);
	CHECK(callsign_peer(c) != NULL && callsign_header(c, "host") != NULL);
}

static void leave(struct connection *c)
{
	ended(c);
	ended_id = c->id;
	if (strcmp(callsign_query(c), "fail") == 0)
		callsign_fail(NULL);
}
CALLSIGN_ONDISCONNECT(leave);

static void release(struct connection *c)
{
	char text[80];
	ended(c);
	say_result(text);
	callsign_logf(CALLSIGN_LEVEL_INFO, "ended: %s", text);
}

CALLSIGN_PLUGIN_WITH("bad", "1.0", .release = release);

static int32_t respond_result(struct callsign_request *request)
{
	char text[80];
	say_result(text);
	return callsign_respond_body(request, text, strlen(text)) == CALLSIGN_STATUS_SENT;
}

/* ---- Requests: the path says which ---- */

static void answers(struct callsign_request *request)
{
	const char *name = NULL, *value = NULL;
	const uint16_t statuses[] = {0, 1, 99, 100, 101, 199, 600, 999, 65535};
	for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++)
		CHECK(callsign_respond_status(request, statuses[i]) == BAD_ARGUMENT);
	const char *const ours[] = {"content-length", "Date", "CONNECTION", "transfer-encoding", "upgrade",
		"sec-websocket-accept", "", "a b", "x\n", "x:", "\xff"};
	for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
		CHECK(callsign_respond_header(request, ours[i], "1") == BAD_ARGUMENT);
	CHECK(callsign_respond_header(request, NULL, "1") == BAD_ARGUMENT);
	CHECK(callsign_respond_header(request, "x", NULL) == BAD_ARGUMENT);
	CHECK(callsign_respond_header(request, "x", "a\r\nb: c") == BAD_ARGUMENT);
	CHECK(callsign_respond_header(request, "x-empty", "") == CALLSIGN_STATUS_SENT);
	CHECK(callsign_respond_body(request, NULL, 1) == BAD_ARGUMENT);
	CHECK(callsign_respond_body(request, NULL, 0) == CALLSIGN_STATUS_SENT);
	CHECK(callsign_request_header(request, NULL) == NULL && callsign_request_header(request, "") == NULL);
	CHECK(callsign_request_header_at(request, 0, NULL, &value) == 0);
	CHECK(callsign_request_header_at(request, 0, &name, NULL) == 0 && name == NULL && value == NULL);
	CHECK(request->body != NULL && request->body_length == 0);
}

static int32_t page(struct callsign_request *request)
{
	const char *path = request->path;
	if (strcmp(path, "/ws") == 0) {
		callsign_handshake(request, "join", "message", "leave");
		return 1;
	}
	if (strcmp(path, "/no-utf-8") == 0) {
		CHECK(callsign_handshake(request, "join", "\xff\xfe", NULL) == NOT_FOUND);
		CHECK(callsign_handshake(request, "bad:\xff", NULL, NULL) == NOT_FOUND);
		CHECK(callsign_handshake(request, NULL, NULL, "") == NOT_FOUND);
		CHECK(callsign_handshake(request, "\xff:join", NULL, NULL) == NOT_FOUND);
		return respond_result(request);
	}
	if (strcmp(path, "/wrong-kind") == 0) {
		CHECK(callsign_handshake(request, "join", "join", NULL) == WRONG_KIND);
		return 1;
	}
	if (strcmp(path, "/corrected") == 0) {
		CHECK(callsign_handshake(request, "nobody", NULL, NULL) == NOT_FOUND);
		CHECK(callsign_handshake(request, "join", "message", "leave") == CALLSIGN_STATUS_SENT);
		return 1;
	}
	if (strcmp(path, "/no-upgrade") == 0) {
		CHECK(callsign_handshake(request, "join", "message", "leave") == NOT_UPGRADE);
		return 1;
	}
	if (strcmp(path, "/fail") == 0) {
		callsign_respond(request, 200, "text/plain", "never sent", 10);
		callsign_fail("it fails");
		return 1;
	}
	if (strncmp(path, "/answer/", 8) == 0)
		return (int32_t)strtol(path + 8, NULL, 10);
	answers(request);
	return respond_result(request);
}
CALLSIGN_ONREQUEST(page);

static int32_t load(const struct callsign_load *load)
{
	struct connection *none = callsign_find(1);
	CHECK(none == NULL && callsign_text(none, "x") == NOT_NOW);
	CHECK(callsign_broadcast_text(NULL, "x", CALLSIGN_SCOPE_GLOBAL) == NOT_NOW);
	CHECK(callsign_close(none, 1000, "") == NOT_NOW);
	CHECK(callsign_save("x", 1) == NOT_NOW);
	CHECK(callsign_worker_send(CALLSIGN_ALL_WORKERS, 20, "x", 1) == NOT_NOW);
	for (uint32_t id = 0; id < 24; id++)
		CHECK(callsign_worker_receive(id, received) == CALLSIGN_STATUS_SENT);
	CHECK(callsign_in_callback() == 1 && load->state == NULL && load->state_length == 0);
	char text[80];
	say_result(text);
	callsign_logf(CALLSIGN_LEVEL_INFO, "load: %s", text);
	return 1;
}
CALLSIGN_ONLOAD(load);
