/* What applications for several versions of Kore use: callbacks in a struct, old names, a seccomp filter, the headers that
 * Kore's own headers include, and generated assets. */
#include <kore/kore.h>
#include <kore/http.h>
#include <kore/hooks.h>
#include <kore/seccomp.h>

#include "assets.h"

int page(struct http_request *);
int status(struct http_request *);
int talk(struct http_request *);
int silent(struct http_request *);
int broken(struct http_request *);
void ws_connect(struct connection *);
void ws_message(struct connection *, u_int8_t, void *, size_t);
void ws_disconnect(struct connection *);

KORE_SECCOMP_FILTER("old",
	KORE_SYSCALL_ALLOW(poll),
	KORE_SYSCALL_DENY(socket, EACCES),
	KORE_SYSCALL_DENY_ARG(socket, 0, AF_INET, EACCES))

/* All three, some, and one that no other file can see. */
struct kore_wscbs wscbs = {ws_connect, ws_message, ws_disconnect};
static struct kore_wscbs some = {NULL, ws_message, NULL};

static void hidden(struct connection *c)
{
	(void)c;
}
static const struct kore_wscbs unnamed = {hidden, NULL, NULL};

/* What the included headers declare. */
static struct stat file;
static struct sockaddr_in address;
static struct sockaddr_un local;
static regex_t expression;
static volatile sig_atomic_t signalled;

void kore_parent_configure(int argc, char **argv)
{
	kore_default_getopt(argc, argv);
}

int page(struct http_request *req)
{
	http_response_header(req, "content-type", "text/html");
	http_response(req, 200, asset_frontend_html, asset_len_frontend_html);
	return (KORE_RESULT_OK);
}

/* Responds with the status before and after a response, and with what the asset's symbols say. */
int status(struct http_request *req)
{
	struct kore_buf *buf = kore_buf_create(64);
	u_int32_t before = req->status;

	req->status = HTTP_STATUS_ACCEPTED;
	kore_buf_appendf(buf, "%u %s ", before, kore_connection_ip(req->owner));
	kore_buf_appendf(buf, "%s %d %d", asset_sha256_frontend_html, asset_mtime_frontend_html > 0,
	    asset_frontend_html[asset_len_frontend_html]);
	http_response(req, req->status, buf->data, buf->offset);
	if (req->status != HTTP_STATUS_ACCEPTED)
		fatal("status %u", req->status);
	kore_buf_free(buf);
	kore_mem_free(kore_strdup("old"));
	memset(&file, 0, sizeof file);
	memset(&address, 0, sizeof address);
	memset(&local, 0, sizeof local);
	signalled = regcomp(&expression, "^a", REG_EXTENDED) == 0;
	regfree(&expression);
	(void)inet_ntoa(address.sin_addr);
	return (KORE_RESULT_OK);
}

int talk(struct http_request *req)
{
	kore_websocket_handshake(req, &wscbs);
	return (KORE_RESULT_OK);
}

int silent(struct http_request *req)
{
	kore_websocket_handshake(req, &some);
	return (KORE_RESULT_OK);
}

int broken(struct http_request *req)
{
	kore_websocket_handshake(req, &unnamed);
	return (KORE_RESULT_OK);
}

void ws_connect(struct connection *c)
{
	kore_websocket_send(c, WEBSOCKET_OP_TEXT, "connected", 9);
}

void ws_message(struct connection *c, u_int8_t op, void *data, size_t len)
{
	kore_websocket_send(c, op, data, len);
}

void ws_disconnect(struct connection *c)
{
	kore_log(LOG_NOTICE, "%p: disconnected", (void *)c);
}
