/* Arguments, cookies and hdlr_extra: stores the visitor's name in a cookie, and uses it on pages and WebSockets. */
#include <kore/kore.h>
#include <kore/http.h>

int init(int);
int greet(struct http_request *);
int sum(struct http_request *);
int talk(struct http_request *);
void talk_message(struct connection *, u_int8_t, const void *, size_t);
void talk_disconnect(struct connection *);

/* State of a WebSocket connection. */
struct visitor {
	u_int32_t said;
	char name[32];
};

int
init(int action)
{
	kore_log(LOG_NOTICE, "visitors %s", action == KORE_MODULE_LOAD ? "loaded" : "unloaded");

	return (KORE_RESULT_OK);
}

/* GET /greet?name=NAME[&days=N] greets NAME and sets a cookie for N days. Without `name`, it uses the cookie. */
int
greet(struct http_request *req)
{
	char *name;
	u_int16_t days;
	struct kore_buf *buf;
	struct http_cookie *cookie;

	http_populate_qs(req);
	http_populate_cookies(req);

	if (http_argument_get_string(req, "name", &name)) {
		if (!http_argument_get_uint16(req, "days", &days))
			days = 1;
		http_response_cookie(req, "name", name, "/", 0, (u_int32_t)days * 24 * 60 * 60, &cookie);
		/* The example has no TLS. */
		cookie->flags &= (u_int16_t)~HTTP_COOKIE_SECURE;
	} else if (!http_request_cookie(req, "name", &name)) {
		http_response(req, HTTP_STATUS_BAD_REQUEST, "who?\n", 5);
		return (KORE_RESULT_OK);
	}

	buf = kore_buf_alloc(128);
	kore_buf_appendf(buf, "hello $name from %s\n", KORE_CONNECTION_IP(req->owner));
	kore_buf_replace_string(buf, "$name", name, strlen(name));
	http_response_header(req, "content-type", "text/plain; charset=utf-8");
	http_response(req, HTTP_STATUS_OK, buf->data, buf->offset);
	kore_buf_free(buf);

	return (KORE_RESULT_OK);
}

/* POST /sum with a=N&b=N responds with the sum. */
int
sum(struct http_request *req)
{
	int64_t a, b;
	const char *type;
	char text[32];
	int len;

	if (!http_request_header(req, "content-type", &type) ||
	    strncmp(type, "application/x-www-form-urlencoded", 33) != 0) {
		http_response(req, HTTP_STATUS_UNSUPPORTED_MEDIA_TYPE, NULL, 0);
		return (KORE_RESULT_OK);
	}

	http_populate_post(req);
	if (!http_argument_get_int64(req, "a", &a) || !http_argument_get_int64(req, "b", &b) ||
	    a > INT32_MAX || a < INT32_MIN || b > INT32_MAX || b < INT32_MIN) {
		http_response(req, HTTP_STATUS_BAD_REQUEST, NULL, 0);
		return (KORE_RESULT_OK);
	}

	len = snprintf(text, sizeof(text), "%lld\n", (long long)(a + b));
	http_response(req, HTTP_STATUS_OK, text, (size_t)len);

	return (KORE_RESULT_OK);
}

/* Upgrades visitors that have a name. */
int
talk(struct http_request *req)
{
	char *name;
	struct visitor *visitor;

	http_populate_cookies(req);
	if (!http_request_cookie(req, "name", &name)) {
		http_response(req, HTTP_STATUS_FORBIDDEN, NULL, 0);
		return (KORE_RESULT_OK);
	}

	visitor = kore_calloc(1, sizeof(*visitor));
	(void)kore_strlcpy(visitor->name, name, sizeof(visitor->name));
	/* Freed with the connection, or if the request does not become a connection. */
	req->owner->hdlr_extra = visitor;
	kore_websocket_handshake(req, NULL, "talk_message", "talk_disconnect");

	return (KORE_RESULT_OK);
}

void
talk_message(struct connection *c, u_int8_t op, const void *data, size_t len)
{
	struct kore_buf *buf;
	struct visitor *visitor = c->hdlr_extra;

	/* NULL after a reload from a generation with another state version. */
	if (visitor == NULL) {
		visitor = c->hdlr_extra = kore_calloc(1, sizeof(*visitor));
		(void)kore_strlcpy(visitor->name, "somebody", sizeof(visitor->name));
	}

	if (len == 3 && memcmp(data, "bye", 3) == 0) {
		kore_connection_disconnect(c);
		return;
	}

	visitor->said++;
	buf = kore_buf_alloc(len + 64);
	kore_buf_appendf(buf, "%s %u: ", visitor->name, visitor->said);
	kore_buf_append(buf, data, len);
	kore_websocket_send(c, op, buf->data, buf->offset);
	kore_buf_free(buf);
}

void
talk_disconnect(struct connection *c)
{
	struct visitor *visitor = c->hdlr_extra;

	if (visitor != NULL)
		kore_log(LOG_INFO, "%s has said %u things", visitor->name, visitor->said);
}
