/*
 * Connections, the release hook, and the state of the current request.
 *
 * The memory of a request is a list of blocks. The blocks are freed when the host releases the request's owner or, after
 * a handshake, when the next request of this worker begins. A worker handles one request at a time, so one state per
 * library is enough.
 */
#ifndef CALLSIGN_KORE_RUNTIME_H
#define CALLSIGN_KORE_RUNTIME_H

/* Set on the compiler's command line: the plugin's name (by default the file name), and its version. */
#ifndef CALLSIGN_NAME
#define CALLSIGN_NAME ""
#endif
#ifndef CALLSIGN_VERSION
#define CALLSIGN_VERSION ""
#endif
/* See kore.h. */
#ifndef CALLSIGN_STATE_VERSION
#define CALLSIGN_STATE_VERSION 0
#endif

/* The layout is that of the host's struct callsign_request. */
struct http_request {
	/* Owned by the handler. If not NULL, passed to kore_free after the request. */
	void *hdlr_extra;
	u_int32_t callsign_size;
	/* 1 if the request is a valid WebSocket upgrade. */
	u_int32_t callsign_upgrade;
	const char *callsign_method;
	/* Percent-encoding is kept. */
	const char *path;
	/* Read only; "" without a query. */
	char *query_string;
	const char *callsign_peer;
	const u_int8_t *callsign_body;
	size_t http_body_length;
	/* The Host header as sent, or "". */
	const char *host;
	/* The connection that the request becomes by a handshake. Its hdlr_extra is then the connection's. */
	struct connection *owner;
	/* An HTTP_METHOD constant, or 0. */
	u_int32_t method;
	/* 0, then the status of http_response. The handler may write to it. */
	u_int32_t status;
};

struct callsign_kore_block {
	struct callsign_kore_block *next;
};

/* State of the current request. */
struct callsign_kore_request {
	/* Equal to the tag of the request's owner: odd, and unique per request. */
	uintptr_t tag;
	/* NULL after a handshake, because the request may be freed then. */
	struct http_request *request;
	struct callsign_kore_block *blocks;
	/* Number of body bytes already read. */
	size_t body_offset;
	/* See http.h. */
	struct http_arg *arguments;
	struct http_cookie *cookies, *response_cookies;
	/* Adds the cookies to the response; NULL without cookies. */
	void (*finish)(struct http_request *);
};

CALLSIGN_KORE_SHARED struct callsign_kore_request callsign_kore_request = {0, NULL, NULL, 0, NULL, NULL, NULL, NULL};
CALLSIGN_KORE_SHARED uintptr_t callsign_kore_last_tag = 1;

static inline void callsign_kore_end_request(void)
{
	struct callsign_kore_request *state = &callsign_kore_request;
	struct callsign_kore_block *block = state->blocks, *next;

	for (; block != NULL; block = next) {
		next = block->next;
		kore_free(block);
	}
	kore_free(callsign_kore_kept);
	memset(state, 0, sizeof *state);
}

/* The state of this request; the first call creates it. */
static inline struct callsign_kore_request *callsign_kore_of(struct http_request *req)
{
	struct callsign_kore_request *state = &callsign_kore_request;

	if (state->tag == 0 || req->owner->callsign_tag != state->tag) {
		callsign_kore_end_request();
		state->tag = callsign_kore_last_tag += 2;
		state->request = req;
		req->owner->callsign_tag = state->tag;
	}
	return state;
}

/* Allocates memory that is freed with the request. */
static inline void *callsign_kore_with_request(struct callsign_kore_request *state, size_t length)
{
	struct callsign_kore_block *block = (struct callsign_kore_block *)kore_calloc(1, sizeof *block + length);

	block->next = state->blocks;
	state->blocks = block;
	return block + 1;
}

static inline char *callsign_kore_text(struct callsign_kore_request *state, const char *text, size_t length)
{
	return (char *)memcpy(callsign_kore_with_request(state, length + 1), text, length);
}

/* Called when the response is complete except for status and body. */
static inline void callsign_kore_finish(struct http_request *req)
{
	struct callsign_kore_request *state = &callsign_kore_request;

	if (req->hdlr_extra != NULL)
		(void)callsign_kore_of(req);
	if (state->tag != 0 && state->tag == req->owner->callsign_tag && state->finish != NULL)
		state->finish(req);
}

static inline void kore_websocket_handshake(struct http_request *req, const char *onconnect,
    const char *onmessage, const char *ondisconnect)
{
	struct callsign_kore_request *state = &callsign_kore_request;

	callsign_kore_finish(req);
	/* If the status is negative, the host responds and logs, and the request does not become a connection. */
	if (callsign_kore_host->handshake(req, onconnect, onmessage, ondisconnect) < 0)
		return;
	if (state->tag != 0 && state->tag == req->owner->callsign_tag && state->request != NULL) {
		callsign_kore_kept = req->hdlr_extra;
		state->request = NULL;
	}
}

/* dladdr(3), which dlfcn.h declares only if _GNU_SOURCE was defined before the first header. */
struct callsign_kore_symbol {
	const char *file;
	void *base;
	const char *name;
	void *address;
};
extern int callsign_kore_dladdr(const void *, struct callsign_kore_symbol *) __asm__("dladdr");

/* The name under which the library exports a function. NULL if it does not. */
static inline const char *callsign_kore_name(uintptr_t function)
{
	struct callsign_kore_symbol symbol = {NULL, NULL, NULL, NULL};

	if (callsign_kore_dladdr((const void *)function, &symbol) == 0 || (uintptr_t)symbol.address != function)
		return NULL;
	return symbol.name;
}

/* By name, as every handshake, so that the connection calls the new code after a reload. */
static inline void callsign_kore_handshake(struct http_request *req, const struct kore_wscbs *callbacks)
{
	static const char unnamed[] = "kore_websocket_handshake: a function in struct kore_wscbs is not exported; "
	    "declare it without `static`";
	uintptr_t functions[] = {(uintptr_t)callbacks->connect, (uintptr_t)callbacks->message,
	    (uintptr_t)callbacks->disconnect};
	const char *names[3] = {NULL, NULL, NULL};
	size_t i;

	for (i = 0; i < 3; i++) {
		if (functions[i] != 0 && (names[i] = callsign_kore_name(functions[i])) == NULL) {
			(void)callsign_kore_host->fail(unnamed, sizeof unnamed - 1, NULL, 0);
			return;
		}
	}
	kore_websocket_handshake(req, names[0], names[1], names[2]);
}

/* With two arguments, callsign_kore_handshake; with four, the function of this name. */
#define CALLSIGN_KORE_FIFTH(a, b, c, d, e, ...) e
#define kore_websocket_handshake(...) \
	CALLSIGN_KORE_FIFTH(__VA_ARGS__, kore_websocket_handshake, 0, callsign_kore_handshake, 0, 0)(__VA_ARGS__)

/* Logs why a message was not sent, unless the client has disconnected. */
static inline void callsign_kore_unsent(const char *function, int32_t status, u_int8_t op, size_t len)
{
	switch (status) {
	case CALLSIGN_KORE_TOO_LARGE:
		kore_log(LOG_ERR, "%s: %zu bytes are more than a message may have", function, len);
		break;
	case CALLSIGN_KORE_BAD_OP:
		kore_log(LOG_ERR, "%s: op %u cannot be sent", function, (unsigned)op);
		break;
	case CALLSIGN_KORE_BAD_UTF8:
		kore_log(LOG_ERR, "%s: text that is not UTF-8; send it as WEBSOCKET_OP_BINARY", function);
		break;
	case CALLSIGN_KORE_BAD_ARGUMENT:
		kore_log(LOG_ERR, "%s: no data, no connection, an unknown scope or a close code that is reserved", function);
		break;
	case CALLSIGN_KORE_WRONG_THREAD:
		kore_log(LOG_ERR, "%s: called outside the worker thread", function);
		break;
	case CALLSIGN_KORE_NOT_NOW:
		kore_log(LOG_ERR, "%s: cannot send while the library is loaded", function);
		break;
	}
}

static inline void kore_websocket_send(struct connection *c, u_int8_t op, const void *data, size_t len)
{
	const u_int8_t *bytes = (const u_int8_t *)data;
	uint16_t code = 0;
	int32_t status;

	if (op != WEBSOCKET_OP_CLOSE) {
		status = callsign_kore_host->send(c, op, data, len);
	} else {
		if (bytes != NULL && len >= 2)
			code = (uint16_t)(bytes[0] << 8 | bytes[1]);
		status = callsign_kore_host->close(c, code, len > 2 && code ? (const char *)bytes + 2 : "",
		    len > 2 && code ? len - 2 : 0);
	}
	if (status == CALLSIGN_KORE_CLOSED && c->callsign_id == 0)
		kore_log(LOG_ERR, "kore_websocket_send: a request is no connection before its page handler has returned; "
		    "send in onconnect");
	callsign_kore_unsent("kore_websocket_send", status, op, len);
}

static inline void kore_websocket_broadcast(struct connection *c, u_int8_t op, const void *data, size_t len, int scope)
{
	int32_t status = callsign_kore_host->broadcast(c, op, data, len, (uint32_t)scope);

	callsign_kore_unsent("kore_websocket_broadcast", status, op, len);
}

static inline void kore_connection_disconnect(struct connection *c)
{
	(void)callsign_kore_host->close(c, 1000, "", 0);
}

CALLSIGN_KORE_SHARED char callsign_kore_address_text[64] = "";

static inline const char *kore_connection_ip(struct connection *c)
{
	const char *peer = callsign_kore_host->peer(c), *end;
	size_t length;

	if (peer == NULL)
		return "";
	end = strrchr(peer, ':');
	length = end != NULL ? (size_t)(end - peer) : strlen(peer);
	if (length > 2 && peer[0] == '[') {
		peer++;
		length -= 2;
	}
	if (length >= sizeof callsign_kore_address_text)
		length = sizeof callsign_kore_address_text - 1;
	memcpy(callsign_kore_address_text, peer, length);
	callsign_kore_address_text[length] = '\0';
	return callsign_kore_address_text;
}

/* The release hook, called when a connection has ended or a request did not become a connection. */
static inline void callsign_kore_release(struct connection *c)
{
	struct callsign_kore_request *state = &callsign_kore_request;
	void *extra = NULL;

	if (c->callsign_id == 0 && state->tag != 0 && c->callsign_tag == state->tag) {
		if (state->request != NULL) {
			extra = state->request->hdlr_extra;
			state->request->hdlr_extra = NULL;
		}
		callsign_kore_end_request();
		kore_free(extra);
	}
	/* An even tag belongs to a plugin in Rust, which owns the data. */
	if (c->callsign_tag == 0 || c->callsign_tag % 2 == 1) {
		kore_free(c->hdlr_extra);
		c->hdlr_extra = NULL;
	}
}

#endif
