/* A source for Kore in C++: handlers are extern "C", as for Kore. */
#include <kore/kore.h>
#include <kore/http.h>

#include <kore/hooks.h>
#include <kore/seccomp.h>

#include <string>

KORE_SECCOMP_FILTER("cpp", KORE_SYSCALL_ALLOW(poll))

extern "C" {
int page(struct http_request *);
int old(struct http_request *);
void joined(struct connection *);
void told(struct connection *, u_int8_t, void *, size_t);
}

void kore_worker_configure(void)
{
	kore_log(LOG_NOTICE, "worker %u begins", static_cast<unsigned>(worker->id));
}

/* A WebSocket, or a page with its argument. */
int page(struct http_request *req)
{
	char *name;
	std::string answer = "hello ";

	http_populate_get(req);
	if (!http_argument_get_string(req, "name", &name)) {
		kore_websocket_handshake(req, "joined", "told", NULL);
		return KORE_RESULT_OK;
	}
	answer += name;
	http_response_cookie(req, "name", name, "/", 0, 0, NULL);
	http_response(req, HTTP_STATUS_OK, answer.data(), answer.size());
	return KORE_RESULT_OK;
}

/* The callbacks as in older versions of Kore. */
static struct kore_wscbs callbacks = {joined, told, nullptr};

int old(struct http_request *req)
{
	req->status = 0;
	kore_websocket_handshake(req, &callbacks);
	return KORE_RESULT_OK;
}

void joined(struct connection *c)
{
	c->hdlr_extra = kore_strdup("said: ");
}

void told(struct connection *c, u_int8_t op, void *data, size_t len)
{
	std::string answer(static_cast<char *>(c->hdlr_extra));

	answer.append(static_cast<char *>(data), len);
	kore_websocket_send(c, op, answer.data(), answer.size());
}
