/* Uses every public name of callsign.h. Must compile as C99 and as C++17 without warnings. */
#include "callsign.h"

static void release(struct connection *c)
{
	c->data = NULL;
}

static int32_t save(struct connection *c)
{
	return callsign_save(c->data, 0) == CALLSIGN_STATUS_SENT ? CALLSIGN_SAVED : CALLSIGN_SAVED_FAILED;
}

static int32_t restore(struct connection *c, uint32_t version, const void *state, size_t length)
{
	if (version == 1 && state != NULL && length == 0)
		return 1;
	release(c);
	return callsign_fail("another version") == 0;
}

static int32_t save_plugin(void)
{
	return CALLSIGN_SAVED_NOT_MINE;
}

static int32_t restore_plugin(uint32_t version, const void *state, size_t length)
{
	return version == 1 && state != NULL && length == 0;
}

#if defined WITH
CALLSIGN_PLUGIN_WITH("sample", "1.0", .state_version = 1, .release = release, .save = save, .restore = restore,
	.save_plugin = save_plugin, .restore_plugin = restore_plugin);
#else
CALLSIGN_PLUGIN_HOOKS("sample", "1.0", 1, release, save, restore, save_plugin, restore_plugin);
#endif

static void later(void *data, struct connection *c)
{
	(void)data, (void)c;
}

static void work(void *data)
{
	(void)data;
}

static void other(uint32_t worker, uint32_t id, const void *data, size_t length)
{
	callsign_logf(CALLSIGN_LEVEL_DEBUG, "%u of %u: %u, %s, %zu", worker, callsign_worker_count(), id,
		data == NULL ? "nothing" : "something", length);
}

static void join(struct connection *c)
{
	const char *name, *value;
	callsign_text(c, "welcome");
	callsign_send(c, CALLSIGN_OP_PING, NULL, 0);
	callsign_broadcast(c, CALLSIGN_OP_BINARY, "\1", 1, CALLSIGN_SCOPE_LOCAL);
	callsign_broadcast_text(NULL, "joined", CALLSIGN_SCOPE_GLOBAL);
	if (callsign_header_at(c, 0, &name, &value) == 1 && callsign_find(c->id) == c)
		callsign_logf(CALLSIGN_LEVEL_INFO, "%s: %s %s", name, value, callsign_header(c, name));
	callsign_logf(
		CALLSIGN_LEVEL_INFO, "%s %s %s", callsign_peer(c), callsign_path(c), callsign_query(c));
	callsign_logf(CALLSIGN_LEVEL_INFO, "speaks %s", callsign_protocol(c));
	callsign_timer_remove(callsign_after(c, 1, later, NULL, NULL));
	callsign_every(NULL, 1000, later, NULL, work);
	callsign_background(c, work, later, NULL, NULL);
	callsign_worker_receive(1, other);
	callsign_worker_send(CALLSIGN_ALL_WORKERS, 1, "x", 1);
	callsign_worker_send(callsign_worker_index() + 1, 1, "x", 1);
}
CALLSIGN_ONCONNECT(join);

static void message(struct connection *c, uint8_t op, const void *data, size_t length)
{
	if (op == CALLSIGN_OP_TEXT && length > 0 && callsign_send(c, op, data, length) == CALLSIGN_STATUS_QUEUED)
		callsign_close(c, 1000, NULL);
}
CALLSIGN_ONMESSAGE(message);

static void leave(struct connection *c)
{
	if (callsign_closed_by(c) == CALLSIGN_CLOSED_BY_CLIENT && callsign_close_code(c) != 1000)
		callsign_log(CALLSIGN_LEVEL_WARN, callsign_close_reason(c));
}
CALLSIGN_ONDISCONNECT(leave);

static void drained(struct connection *c)
{
	if (callsign_queued(c) < 1000)
		callsign_text(c, "go on");
}
CALLSIGN_ONDRAIN(drained);

static int32_t page(struct callsign_request *request)
{
	const char *name, *value;
	if (request->upgrade) {
		callsign_respond_header(request, "x-sample", "1");
		if (callsign_offers_protocol(request, "sample"))
			callsign_select_protocol(request, "sample");
		if (callsign_handshake_drain(request, "join", "message", "leave", "drained") == CALLSIGN_NO_HOST)
			callsign_handshake(request, "join", "message", "leave");
		return 1;
	}
	if ((request->method_code & (CALLSIGN_METHOD_GET | CALLSIGN_METHOD_HEAD)) == 0 ||
		callsign_request_header(request, "range") != NULL ||
		callsign_request_header_at(request, 100, &name, &value) == 1)
		return callsign_respond_status(request, 400) == CALLSIGN_STATUS_SENT &&
			callsign_respond_body(request, NULL, 0) == CALLSIGN_STATUS_SENT;
	return callsign_respond(request, 200, "text/plain", "hello\n", 6);
}
CALLSIGN_ONREQUEST(page);

static int32_t load(const struct callsign_load *load)
{
	return load->generation > 0 && callsign_in_callback() && callsign_extension("none/1") == NULL;
}
CALLSIGN_ONLOAD(load);

static void unload(void)
{
	callsign_log(CALLSIGN_LEVEL_INFO, "unload");
}
CALLSIGN_ONUNLOAD(unload);
