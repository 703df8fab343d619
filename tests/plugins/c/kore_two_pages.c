/* One of two files of a library: the page and kore_worker_configure. The other file has the callbacks and hooks. */
#include "kore_two.h"

void kore_worker_configure(void)
{
	/* The library has one table of receivers, which both files use. */
	if (!kore_msg_register(MSG_NEWS, news_received) || register_again())
		fatal("the two files do not have the same receivers");
}

/* This file populates the arguments, the other one reads them. */
int enter(struct http_request *req)
{
	struct guest *guest;

	http_populate_qs(req);
	guest = guest_new(req);
	if (guest == NULL) {
		http_response(req, HTTP_STATUS_BAD_REQUEST, "who?\n", 5);
		return KORE_RESULT_OK;
	}
	req->owner->hdlr_extra = guest;
	kore_websocket_handshake(req, NULL, "talk_message", "talk_disconnect");
	return KORE_RESULT_OK;
}

/* This file sends and frees a buffer that the other one made. */
void say(struct connection *c, const struct guest *guest, const void *data, size_t len)
{
	struct kore_buf *buf = guest_text(guest, data, len);

	kore_websocket_send(c, WEBSOCKET_OP_TEXT, buf->data, buf->offset);
	kore_buf_free(buf);
}
