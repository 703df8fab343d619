/* Tests the helpers of callsign.h without a host, and with a host that is too old for most of them. Exits with 0 if the
 * helpers behave as documented. */
#include "callsign.h"

const struct callsign_host *table_of_second(void);

static int failed;

#define CHECK(fact) \
	do { \
		if (!(fact)) { \
			printf("line %d: %s\n", __LINE__, #fact); \
			failed = 1; \
		} \
	} while (0)

static int calls;

static int32_t send_(struct connection *c, uint8_t op, const void *data, size_t length)
{
	calls++;
	return c != NULL && op == CALLSIGN_OP_TEXT && length == strlen((const char *)data) ? 7 : -77;
}

static int32_t broadcast(
	struct connection *source, uint8_t op, const void *data, size_t length, uint32_t scope)
{
	(void)source, (void)op, (void)data, (void)length, (void)scope;
	calls++;
	return 8;
}

static void check_all_do_nothing(struct connection *c, struct callsign_request *request)
{
	const char *name = "name", *value = "value";
	size_t length = 7;
	CHECK(callsign_close(c, 1000, "x") == CALLSIGN_NO_HOST);
	CHECK(callsign_find(1) == NULL);
	CHECK(callsign_peer(c) == NULL && callsign_path(c) == NULL && callsign_query(c) == NULL);
	CHECK(callsign_protocol(c) == NULL);
	CHECK(callsign_certificate(c, &length) == NULL && length == 0 && callsign_certificate(c, NULL) == NULL);
	CHECK(callsign_certificate_field(c, CALLSIGN_CERTIFICATE_SUBJECT, 0) == NULL);
	CHECK(callsign_is_secure(c) == 0);
	CHECK(callsign_header(c, "x") == NULL && callsign_header_at(c, 0, &name, &value) == 0);
	CHECK(callsign_close_code(c) == 0 && callsign_close_reason(c) == NULL && callsign_closed_by(c) == 0);
	CHECK(callsign_request_header(request, "x") == NULL);
	CHECK(callsign_request_header_at(request, 0, &name, &value) == 0);
	CHECK(strcmp(name, "name") == 0 && strcmp(value, "value") == 0);
	CHECK(callsign_respond_status(request, 200) == CALLSIGN_NO_HOST);
	CHECK(callsign_respond_header(request, "x", "y") == CALLSIGN_NO_HOST);
	CHECK(callsign_respond_body(request, "x", 1) == CALLSIGN_NO_HOST);
	CHECK(callsign_respond(request, 200, "text/plain", "x", 1) == 0);
	CHECK(callsign_handshake(request, "a", "b", "c") == CALLSIGN_NO_HOST);
	CHECK(callsign_handshake_drain(request, "a", "b", "c", "d") == CALLSIGN_NO_HOST && callsign_queued(c) == 0);
	CHECK(callsign_offers_protocol(request, "x") == 0 && callsign_offers_protocol(request, NULL) == 0);
	CHECK(callsign_select_protocol(request, "x") == CALLSIGN_NO_HOST);
	CHECK(callsign_fail("x") == CALLSIGN_NO_HOST && callsign_fail(NULL) == CALLSIGN_NO_HOST);
	CHECK(callsign_in_callback() == 0 && callsign_extension("x/1") == NULL);
	CHECK(callsign_after(c, 1, NULL, NULL, NULL) == 0 && callsign_every(c, 1, NULL, NULL, NULL) == 0);
	CHECK(callsign_timer_remove(1) == CALLSIGN_NO_HOST);
	CHECK(callsign_background(NULL, NULL, NULL, NULL, NULL) == CALLSIGN_NO_HOST);
	CHECK(callsign_save("x", 1) == CALLSIGN_NO_HOST);
	CHECK(callsign_worker_index() == 0 && callsign_worker_count() == 0);
	CHECK(callsign_worker_send(0, 1, "x", 1) == CALLSIGN_NO_HOST);
	CHECK(callsign_worker_receive(1, NULL) == CALLSIGN_NO_HOST);
	callsign_log(CALLSIGN_LEVEL_INFO, NULL);
	callsign_log(CALLSIGN_LEVEL_INFO, "to stderr");
	callsign_logf(CALLSIGN_LEVEL_INFO, "%s too, %d", "formatted", 1);
}

int main(void)
{
	struct connection c = {NULL, 1, 0};
	struct callsign_host old;
	CHECK(callsign_host_table == NULL);
	CHECK(callsign_send(&c, CALLSIGN_OP_TEXT, "x", 1) == CALLSIGN_NO_HOST);
	CHECK(callsign_text(&c, "x") == CALLSIGN_NO_HOST);
	CHECK(callsign_broadcast_text(&c, "x", CALLSIGN_SCOPE_LOCAL) == CALLSIGN_NO_HOST);
	check_all_do_nothing(&c, NULL);

	/* The table of this host ends in the middle of `broadcast`. Functions beyond its size must not be called. */
	memset(&old, 0x55, sizeof old);
	old.struct_size = offsetof(struct callsign_host, broadcast) + 4;
	old.send = send_;
	old.broadcast = broadcast;
	callsign_host_table = &old;
	CHECK(table_of_second() == &old);
	CHECK(callsign_text(&c, "four") == 7 && calls == 1);
	CHECK(callsign_text(&c, NULL) == CALLSIGN_STATUS_BAD_ARGUMENT && calls == 1);
	CHECK(callsign_broadcast_text(&c, "x", CALLSIGN_SCOPE_LOCAL) == CALLSIGN_NO_HOST && calls == 1);
	check_all_do_nothing(&c, NULL);
	old.struct_size = offsetof(struct callsign_host, close);
	CHECK(callsign_broadcast_text(&c, "x", CALLSIGN_SCOPE_LOCAL) == 8 && calls == 2);
	CHECK(callsign_broadcast_text(&c, NULL, CALLSIGN_SCOPE_LOCAL) == CALLSIGN_STATUS_BAD_ARGUMENT && calls == 2);
	check_all_do_nothing(&c, NULL);
	return failed;
}
