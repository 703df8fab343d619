/* One of two files of a library: its page, and what begins it. The other has the callbacks and the hooks. */
#include "kore_two.h"

void kore_worker_configure(void)
{
	/* The table of receivers is the library's: the other file finds this one in it. */
	if (!kore_msg_register(MSG_NEWS, news_received) || register_again())
		fatal("the two files do not have the same receivers");
}

/* The arguments are got here and read there. */
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

/* What was made there is sent and freed here. */
void say(struct connection *c, const struct guest *guest, const void *data, size_t len)
{
	struct kore_buf *buf = guest_text(guest, data, len);

	kore_websocket_send(c, WEBSOCKET_OP_TEXT, buf->data, buf->offset);
	kore_buf_free(buf);
}
