/* The parts of plugin-api/include/kore that the examples do not use. Each failed check is a line of the response. */
#include <kore/http.h>

#include <kore/hooks.h>

static struct kore_buf report;

#define CHECK(what)                                                                                            \
	do {                                                                                                   \
		if (!(what))                                                                                   \
			kore_buf_appendf(&report, "line %d: %s\n", __LINE__, #what);                           \
	} while (0)

static void check_buffers(void)
{
	struct kore_buf *buf = kore_buf_alloc(0), here;
	size_t length, i;
	u_int8_t *data;

	for (i = 0; i < 1000; i++)
		kore_buf_append(buf, "abc", 3);
	CHECK(buf->offset == 3000 && memcmp(buf->data + 2997, "abc", 3) == 0);
	kore_buf_reset(buf);
	kore_buf_append(buf, NULL, 0);
	kore_buf_appendf(buf, "%s %d %0600d", "text", 7, 8);
	CHECK(buf->offset == 607);
	kore_buf_reset(buf);
	kore_buf_appendf(buf, "$a-$b$a");
	kore_buf_replace_string(buf, "$a", "longer than it", 14);
	kore_buf_replace_string(buf, "$b", NULL, 0);
	kore_buf_replace_string(buf, "$c", "no", 2);
	kore_buf_replace_string(buf, "", "no", 2);
	CHECK(strcmp(kore_buf_stringify(buf, &length), "longer than it-longer than it") == 0 && length == 29);
	data = kore_buf_release(buf, &length);
	CHECK(length == 30 && data[0] == 'l');
	kore_free(data);
	kore_buf_init(&here, 4);
	kore_buf_append(&here, "12345678", 8);
	CHECK(here.offset == 8 && kore_mem_find(here.data, here.offset, "678", 3) == here.data + 5);
	CHECK(kore_mem_find(here.data, here.offset, "9", 1) == NULL && kore_mem_find(here.data, 2, "345", 3) == NULL);
	kore_buf_cleanup(&here);
	CHECK(here.data == NULL && here.offset == 0);
	kore_buf_free(&here);
	kore_buf_free(NULL);
}

static void check_texts(void)
{
	char text[] = ",one,,two,three,four,", *pieces[4], small[4], *copy;
	int err;

	CHECK(kore_split_string(text, ",", pieces, 4) == 3 && pieces[3] == NULL);
	CHECK(strcmp(pieces[0], "one") == 0 && strcmp(pieces[1], "two") == 0 && strcmp(pieces[2], "three") == 0);
	CHECK(kore_split_string(small, ",", pieces, 0) == 0);
	CHECK(kore_strlcpy(small, "longer", sizeof small) == 6 && strcmp(small, "lon") == 0);
	CHECK(kore_strtonum("42", 10, 0, 42, &err) == 42 && err == KORE_RESULT_OK);
	CHECK(kore_strtonum("43", 10, 0, 42, &err) == 0 && err == KORE_RESULT_ERROR);
	CHECK(kore_strtonum("4x", 10, 0, 42, &err) == 0 && err == KORE_RESULT_ERROR);
	CHECK(kore_strtonum("", 10, 0, 42, &err) == 0 && err == KORE_RESULT_ERROR);
	CHECK(kore_strtonum("0xff", 16, 0, 255, &err) == 255 && err == KORE_RESULT_OK);
	CHECK(kore_strtonum64("18446744073709551615", 0, &err) == UINT64_MAX && err == KORE_RESULT_OK);
	CHECK((kore_strtonum64("18446744073709551616", 0, &err), err) == KORE_RESULT_ERROR);
	CHECK((kore_strtonum64("-1", 0, &err), err) == KORE_RESULT_ERROR);
	CHECK((int64_t)kore_strtonum64("-1", 1, &err) == -1 && err == KORE_RESULT_OK);
	CHECK(kore_strtodouble("2.5", 0, 3, &err) > 2.4 && err == KORE_RESULT_OK);
	CHECK((kore_strtodouble("2.5e400", -DBL_MAX, DBL_MAX, &err), err) == KORE_RESULT_ERROR);
	CHECK((kore_strtodouble("4", 0, 3, &err), err) == KORE_RESULT_ERROR);
	copy = kore_strdup("text");
	copy = kore_realloc(copy, 1000);
	CHECK(strcmp(copy, "text") == 0);
	kore_free(copy);
	kore_free(NULL);
	kore_free(kore_malloc(0));
	kore_free(kore_calloc(0, 8));
	CHECK(strcmp(http_method_text(HTTP_METHOD_PUT), "PUT") == 0);
	CHECK(strcmp(http_method_text(HTTP_METHOD_DELETE), "DELETE") == 0);
	CHECK(strcmp(http_method_text(HTTP_METHOD_PATCH), "PATCH") == 0 && strcmp(http_method_text(3), "") == 0);
	CHECK(strcmp(http_method_text(0), "") == 0 && strcmp(http_method_text(8), "") == 0);
	CHECK(strcmp(http_method_text(256), "") == 0 && strcmp(http_method_text(-1), "") == 0);
	CHECK(HTTP_METHOD_ALL == 0xf7);
}

/* Responds with the number and the name of the method. */
int method(struct http_request *req)
{
	char text[32];
	int length = snprintf(text, sizeof text, "%u %s", (unsigned)req->method, http_method_text((int)req->method));

	http_response(req, HTTP_STATUS_OK, text, (size_t)length);
	return KORE_RESULT_OK;
}

/* Responds with the failed checks, "" if there are none. The request's body is `0123456789`. */
int check(struct http_request *req)
{
	const char *value;
	char body[8];
	u_int16_t number;

	kore_buf_init(&report, 0);
	check_buffers();
	check_texts();
	CHECK(req->method == HTTP_METHOD_POST && strcmp(req->path, "/check") == 0 && strcmp(req->host, "test") == 0);
	CHECK(strcmp(req->query_string, "") == 0 && req->http_body_length == 10);
	CHECK(strcmp(KORE_CONNECTION_IP(req->owner), "127.0.0.1") == 0);
	CHECK(http_request_header(req, "X-NUMBER", &value) && strcmp(value, "65535") == 0);
	CHECK(!http_request_header(req, "x-absent", &value));
	CHECK(http_request_header_uint16(req, "x-number", &number) && number == 65535);
	CHECK(http_body_read(req, body, 8) == 8 && memcmp(body, "01234567", 8) == 0);
	CHECK(http_body_read(req, body, 8) == 2 && memcmp(body, "89", 2) == 0 && http_body_read(req, body, 8) == 0);
	CHECK(http_body_rewind(req) && http_body_read(req, body, 1) == 1 && body[0] == '0');
	CHECK(worker != NULL && worker->id == 1 && worker_count == 1 && worker->pid == getpid());
	http_response_header(req, "x-kept", "yes");
	http_response_header(req, "Content-Length", "7");
	http_response_header(req, "bad name", "no");
	http_response(req, HTTP_STATUS_OK, report.data, report.offset);
	kore_buf_cleanup(&report);
	return KORE_RESULT_OK;
}

#define TELL(type, format)                                                                                     \
	if (http_argument_get_##type(req, "v", &as_##type))                                                    \
		kore_buf_appendf(&report, #type " " format "\n", as_##type);

/* The value of `v` in every type that it fits. */
int argument(struct http_request *req)
{
	char *as_string;
	u_int8_t as_byte;
	int16_t as_int16;
	u_int16_t as_uint16;
	int32_t as_int32;
	u_int32_t as_uint32;
	int64_t as_int64;
	u_int64_t as_uint64;
	float as_float;
	double as_double;

	http_populate_qs(req);
	http_populate_post(req);
	kore_buf_init(&report, 0);
	TELL(string, "%s")
	TELL(byte, "%u")
	TELL(int16, "%d")
	TELL(uint16, "%u")
	TELL(int32, "%d")
	TELL(uint32, "%u")
	TELL(int64, "%ld")
	TELL(uint64, "%lu")
	TELL(float, "%g")
	TELL(double, "%g")
	http_response(req, HTTP_STATUS_OK, report.data, report.offset);
	kore_buf_cleanup(&report);
	return KORE_RESULT_OK;
}

/* Responds with the cookies `a` and `b`, and sets three. */
int cookies(struct http_request *req)
{
	struct http_cookie *cookie;
	char *value;

	kore_buf_init(&report, 0);
	http_populate_cookies(req);
	kore_buf_appendf(&report, "a is %s", http_request_cookie(req, "a", &value) ? value : "none");
	kore_buf_appendf(&report, ", b is %s", http_request_cookie(req, "b", &value) ? value : "none");
	http_response_cookie(req, "one", "1", NULL, 0, 0, NULL);
	http_response_cookie(req, "two", "2", "/two", 784111777, 60, &cookie);
	http_response_cookie(req, "three", "3", NULL, 0, 0, &cookie);
	cookie->flags = 0;
	cookie->domain = NULL;
	http_response(req, HTTP_STATUS_OK, report.data, report.offset);
	kore_buf_cleanup(&report);
	return KORE_RESULT_OK;
}

/* Returns what the query says. */
int answers(struct http_request *req)
{
	if (strcmp(req->query_string, "error") == 0)
		return KORE_RESULT_ERROR;
	req->hdlr_extra = kore_malloc(100);
	if (strcmp(req->query_string, "status") == 0)
		http_response(req, 42, NULL, 0);
	else if (strcmp(req->query_string, "missing") == 0)
		kore_websocket_handshake(req, "nobody", NULL, NULL);
	else
		http_response(req, HTTP_STATUS_NO_CONTENT, NULL, 17);
	return KORE_RESULT_OK;
}

/* A WebSocket with cookies in its 101. The request has an hdlr_extra, which is freed before the connection ends. */
int open_socket(struct http_request *req)
{
	req->hdlr_extra = kore_strdup("the request's");
	http_response_cookie(req, "joined", "yes", NULL, 0, 0, NULL);
	kore_websocket_handshake(req, "opened", "told", NULL);
	return KORE_RESULT_OK;
}

/* The same; the handler frees its hdlr_extra itself, after the handshake. */
int free_early(struct http_request *req)
{
	char *state = http_state_create(req, 777);

	CHECK(http_state_get(req) == state && state[776] == 0 && http_state_exists(req));
	kore_websocket_handshake(req, "opened", "told", NULL);
	http_state_cleanup(req);
	CHECK(!http_state_exists(req));
	return KORE_RESULT_OK;
}

/* Runs in each worker and in the probe, before onload. */
void kore_parent_configure(int argc, char **argv)
{
	if (argc != 0 || argv[0] != NULL || worker == NULL || worker_count == 0)
		fatal("kore_parent_configure(%d)", argc);
	kore_log(LOG_NOTICE, "configured");
}

/* Hooks that are never called. */
void kore_parent_daemonized(void)
{
	fatal("kore_parent_daemonized");
}

void kore_parent_teardown(void)
{
	fatal("kore_parent_teardown");
}

void kore_worker_signal(int number)
{
	fatal("kore_worker_signal(%d)", number);
}

/* NULL where Kore would abort: the calls have no effect. */
static void check_null(struct http_request *req)
{
	struct http_cookie *cookie = NULL;
	const char *value;
	char *text;

	CHECK(!http_argument_get_string(req, NULL, &text) && !http_request_cookie(req, NULL, &text));
	CHECK(!http_request_header(req, NULL, &value));
	CHECK(kore_timer_add(NULL, 1, NULL, KORE_TIMER_ONESHOT) == NULL);
	http_response_cookie(req, NULL, "v", NULL, 0, 0, &cookie);
	CHECK(cookie != NULL);
	http_response_cookie(req, "n", NULL, NULL, 0, 0, NULL);
	http_response_header(req, NULL, "v");
	http_response_header(req, "n", NULL);
	kore_websocket_broadcast(NULL, WEBSOCKET_OP_TEXT, NULL, 0, WEBSOCKET_BROADCAST_LOCAL);
	kore_connection_disconnect(NULL);
	CHECK(strcmp(KORE_CONNECTION_IP(NULL), "") == 0);
}

/* Calls with NULL about a request that has arguments and cookies. */
int null(struct http_request *req)
{
	kore_buf_init(&report, 0);
	http_populate_qs(req);
	http_populate_cookies(req);
	check_null(req);
	kore_msg_send(KORE_MSG_PARENT, KORE_MSG_SHUTDOWN, "1", 1);
	http_response(req, HTTP_STATUS_OK, report.data, report.offset);
	kore_buf_cleanup(&report);
	return KORE_RESULT_OK;
}

void opened(struct connection *c)
{
	kore_websocket_send(c, WEBSOCKET_OP_TEXT, c->hdlr_extra == NULL ? "mine" : "not mine", 4);
	c->hdlr_extra = kore_strdup(KORE_CONNECTION_IP(c));
}

#ifdef STATE
/* State that is carried over as bytes; with -DSTATE=0 it cannot be saved. The plugin counts restored connections. */
static uint32_t restored;

int callsign_save(struct connection *c)
{
	char *extra = c->hdlr_extra;

	return STATE && callsign_keep(extra, strlen(extra) + 1);
}

int callsign_restore(struct connection *c, uint32_t version, const void *state, size_t length)
{
	struct kore_buf *buf = kore_buf_alloc(64);

	(void)length;
	kore_buf_appendf(buf, "%s, from version %u", (const char *)state, version);
	(void)kore_buf_stringify(buf, &length);
	c->hdlr_extra = kore_buf_release(buf, &length);
	restored++;
	return KORE_RESULT_OK;
}

int callsign_save_plugin(void)
{
	return callsign_keep(&restored, sizeof restored);
}

int callsign_restore_plugin(uint32_t version, const void *state, size_t length)
{
	(void)version;
	if (length != sizeof restored)
		return KORE_RESULT_ERROR;
	memcpy(&restored, state, length);
	return KORE_RESULT_OK;
}
#endif

#ifdef INIT
int init(int action)
{
	kore_log(LOG_NOTICE, action == KORE_MODULE_LOAD ? "init " INIT : "unload " INIT);
	return strcmp(INIT, "refuses") != 0;
}
#endif

static void say(struct connection *c, const char *text)
{
	kore_websocket_send(c, WEBSOCKET_OP_TEXT, text, strlen(text));
}

static void once(void *arg, u_int64_t now)
{
	struct connection *none = NULL;

	kore_websocket_broadcast(none, WEBSOCKET_OP_TEXT, now + 1 >= *(u_int64_t *)arg ? "once" : "early", 4, 1);
	kore_free(arg);
}

static void never(void *arg, u_int64_t now)
{
	(void)arg;
	(void)now;
	kore_log(LOG_ERR, "a timer that was removed");
}

static void received(struct kore_msg *msg, const void *data)
{
	char text[64];
	int length = snprintf(text, sizeof text, "%u from %u to %u: %.*s", (unsigned)msg->id, (unsigned)msg->src,
	    (unsigned)msg->dst, (int)msg->length, data ? (const char *)data : "");

	kore_websocket_broadcast(NULL, WEBSOCKET_OP_TEXT, text, (size_t)length, WEBSOCKET_BROADCAST_LOCAL);
}

void told(struct connection *c, u_int8_t op, const void *data, size_t len)
{
	static const char large[2000];
	u_int64_t *due;

	if (op != WEBSOCKET_OP_TEXT || len != 1)
		return;
	switch (*(const char *)data) {
	case 't': /* timers */
		due = kore_malloc(sizeof *due);
		*due = kore_time_ms() + 20;
		kore_timer_remove(kore_timer_add(never, 0, NULL, 0));
		kore_timer_remove(kore_timer_add(never, 1, NULL, KORE_TIMER_ONESHOT));
		kore_timer_remove(NULL);
		(void)kore_timer_add(once, 20, due, KORE_TIMER_ONESHOT);
		break;
	case 'm': /* messages */
		say(c, kore_msg_register(1, received) || kore_msg_register(13, received) ? "13 is Kore's" : "13 is refused");
		say(c, kore_msg_register(201, received) && !kore_msg_register(201, received) ? "201 once" : "201 not");
		kore_msg_send(worker->id, 201, "me", 2);
		kore_msg_send(KORE_MSG_WORKER_ALL, 201, "all", 3);
		kore_msg_send(0, 201, "nobody", 6);
		kore_msg_send(KORE_MSG_PARENT, 201, "parent", 6);
		kore_msg_send(worker->id, 201, NULL, 0);
		(void)kore_msg_register(14, received);
		kore_msg_send(worker->id, 14, "low", 3);
		break;
	case 'u': /* unregistered */
		kore_msg_send(worker->id, 201, "late", 4);
		kore_msg_unregister(201);
		say(c, "unregistered");
		break;
	case 'b': /* invalid sends: each logs one line and has no other effect */
		kore_websocket_send(c, WEBSOCKET_OP_CONT, "x", 1);
		kore_websocket_send(c, 200, "x", 1);
		kore_websocket_send(c, WEBSOCKET_OP_TEXT, "\xff", 1);
		kore_websocket_send(c, WEBSOCKET_OP_BINARY, large, sizeof large);
		kore_websocket_send(c, WEBSOCKET_OP_BINARY, NULL, 1);
		kore_websocket_send(NULL, WEBSOCKET_OP_BINARY, "x", 1);
		kore_websocket_broadcast(c, WEBSOCKET_OP_BINARY, "x", 1, 3);
		kore_websocket_send(c, WEBSOCKET_OP_CLOSE, "\x03\xed", 2);
		kore_websocket_send(c, WEBSOCKET_OP_BINARY, NULL, 0);
		break;
	case 'e': /* the content of hdlr_extra */
		say(c, c->hdlr_extra ? c->hdlr_extra : "nothing");
		break;
	case 'p': /* control frames */
		kore_websocket_send(c, WEBSOCKET_OP_PING, "pi", 2);
		kore_websocket_send(c, WEBSOCKET_OP_PONG, "po", 2);
		break;
	case 'c': /* Close, with code 4000 and a reason */
		kore_websocket_send(c, WEBSOCKET_OP_CLOSE, "\x0f\xa0over", 6);
		kore_websocket_send(c, WEBSOCKET_OP_CLOSE, NULL, 0);
		break;
	case 'l': /* every log priority */
		kore_log(LOG_EMERG, "log emerg");
		kore_log(LOG_WARNING, "log warning");
		kore_log(LOG_NOTICE, "log notice");
		kore_log(LOG_DEBUG, "log debug");
		kore_log(LOG_DAEMON | LOG_INFO, "log %0700d", 1);
		break;
	case 'x':
		fatal("it is %s", "over");
	}
}
