/* A chat with its page, using only Kore's API: broadcasts each message to all other clients, on all workers. */
#include <kore/kore.h>
#include <kore/http.h>

int page(struct http_request *);
int page_ws_connect(struct http_request *);
void websocket_connect(struct connection *);
void websocket_message(struct connection *, u_int8_t, const void *, size_t);
void websocket_disconnect(struct connection *);

static const char html[] =
    "<!doctype html>\n"
    "<html lang=\"en\">\n"
    "<meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
    "<title>Chat</title>\n"
    "<style>\n"
    "  body { font: 16px/1.5 system-ui, sans-serif; max-width: 40rem; margin: 2rem auto; padding: 0 1rem; }\n"
    "  #log { list-style: none; padding: 0; min-height: 12rem; }\n"
    "  #log .note { color: #667; }\n"
    "  input { font: inherit; width: 100%; box-sizing: border-box; padding: .5rem; }\n"
    "</style>\n"
    "<h1>Chat</h1>\n"
    "<ul id=\"log\" aria-live=\"polite\"></ul>\n"
    "<form><input aria-label=\"Message\" placeholder=\"Say something\" autocomplete=\"off\" autofocus></form>\n"
    "<script>\n"
    "  const log = document.querySelector('#log'), input = document.querySelector('input');\n"
    "  const show = (text, kind) => {\n"
    "    const line = document.createElement('li');\n"
    "    line.textContent = text;\n"
    "    line.className = kind || '';\n"
    "    log.append(line);\n"
    "  };\n"
    "  const scheme = location.protocol === 'https:' ? 'wss:' : 'ws:';\n"
    "  const socket = new WebSocket(scheme + '//' + location.host + '/connect');\n"
    "  socket.onmessage = event => show(event.data);\n"
    "  socket.onclose = () => show('The connection is closed. Reload the page to reconnect.', 'note');\n"
    "  document.querySelector('form').onsubmit = event => {\n"
    "    event.preventDefault();\n"
    "    if (!input.value || socket.readyState !== WebSocket.OPEN) return;\n"
    "    socket.send(input.value);\n"
    "    show('you: ' + input.value);\n"
    "    input.value = '';\n"
    "  };\n"
    "</script>\n";

int
page(struct http_request *req)
{
	if (req->method != HTTP_METHOD_GET) {
		http_response_header(req, "allow", "GET");
		http_response(req, HTTP_STATUS_METHOD_NOT_ALLOWED, NULL, 0);
		return (KORE_RESULT_OK);
	}

	http_response_header(req, "content-type", "text/html; charset=utf-8");
	http_response(req, HTTP_STATUS_OK, html, sizeof(html) - 1);

	return (KORE_RESULT_OK);
}

int
page_ws_connect(struct http_request *req)
{
	kore_websocket_handshake(req, "websocket_connect", "websocket_message", "websocket_disconnect");

	return (KORE_RESULT_OK);
}

/* Tells all other clients that a client has come or left. */
static void
announce(struct connection *c, const char *what)
{
	struct kore_buf *buf;

	buf = kore_buf_alloc(128);
	kore_buf_appendf(buf, "a guest has %s", what);
	kore_websocket_broadcast(c, WEBSOCKET_OP_TEXT, buf->data, buf->offset, WEBSOCKET_BROADCAST_GLOBAL);
	kore_buf_free(buf);
}

void
websocket_connect(struct connection *c)
{
	kore_log(LOG_NOTICE, "%s has come", KORE_CONNECTION_IP(c));
	announce(c, "come");
}

void
websocket_message(struct connection *c, u_int8_t op, const void *data, size_t len)
{
	kore_websocket_broadcast(c, op, data, len, WEBSOCKET_BROADCAST_GLOBAL);
}

void
websocket_disconnect(struct connection *c)
{
	kore_log(LOG_NOTICE, "%s has left", KORE_CONNECTION_IP(c));
	announce(c, "left");
}
