/*
 * What makes the library a plugin, its hooks, connections, and what a request needs until it ends.
 *
 * A request's memory lives in blocks that are freed when the host releases its owner, or, after a handshake, when
 * the next request of this worker begins. A worker has one request in its hands at a time, so there is one of this.
 */
#ifndef CALLSIGN_KORE_RUNTIME_H
#define CALLSIGN_KORE_RUNTIME_H

/* For the compiler's command line: the plugin's name, if it is not to be the file's, and its version. */
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

/* The request's layout is the host's. */
struct http_request {
	/* The handler's own, given to kore_free after the request, if it is not NULL. */
	void *hdlr_extra;
	u_int32_t callsign_size;
	/* 1 if the request asks for a WebSocket as it should. */
	u_int32_t callsign_upgrade;
	const char *callsign_method;
	/* Percent-encoding kept. */
	const char *path;
	/* Read only; "" if there is none. */
	char *query_string;
	const char *callsign_peer;
	const u_int8_t *callsign_body;
	size_t http_body_length;
	/* As the client has sent it, "" if it has not. */
	const char *host;
	/* What the request becomes by a handshake: its hdlr_extra is then the connection's. */
	struct connection *owner;
	/* One of HTTP_METHOD. */
	u_int32_t method;
};

struct callsign_kore_block {
	struct callsign_kore_block *next;
};

/* What belongs to the request in hand. */
struct callsign_kore_request {
	/* The same as its owner's: odd, and no other request's. */
	uintptr_t tag;
	/* NULL after a handshake: then it may be gone. */
	struct http_request *request;
	struct callsign_kore_block *blocks;
	/* Bytes of the body that were read. */
	size_t body_offset;
	/* Of http.h. */
	struct http_arg *arguments;
	struct http_cookie *cookies, *answer_cookies;
	/* Adds the answer's cookies to it; NULL if there are none. */
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

/* What belongs to this request; made when it is asked for first. */
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

/* Memory that is freed with the request. */
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

/* The answer is complete but for its body. */
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
	/* A status that is negative is the host's to answer and to log; then the request never was an owner's. */
	if (callsign_kore_host->handshake(req, onconnect, onmessage, ondisconnect) < 0)
		return;
	if (state->tag != 0 && state->tag == req->owner->callsign_tag && state->request != NULL) {
		callsign_kore_kept = req->hdlr_extra;
		state->request = NULL;
	}
}

/* Says why something was not sent, unless it is only that the client has left. */
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
		kore_log(LOG_ERR, "%s: called from another thread than the worker's", function);
		break;
	case CALLSIGN_KORE_NOT_NOW:
		kore_log(LOG_ERR, "%s: nobody can be reached while the library is loaded", function);
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

static inline const char *callsign_kore_address(struct connection *c)
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

/* The host's: nobody will use what a connection, or a request that did not become one, leads to. */
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
	/* An even tag is that of a plugin in Rust, to which the data belongs. */
	if (c->callsign_tag == 0 || c->callsign_tag % 2 == 1) {
		kore_free(c->hdlr_extra);
		c->hdlr_extra = NULL;
	}
}

#endif
