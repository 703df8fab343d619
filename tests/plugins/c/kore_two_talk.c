/* The other of two files of a library: callbacks, and the hooks that carry their state across a reload. */
#include "kore_two.h"

struct guest *guest_new(struct http_request *req)
{
	char *name;
	struct guest *guest;

	if (!http_argument_get_string(req, "name", &name))
		return NULL;
	guest = kore_calloc(1, sizeof *guest);
	(void)kore_strlcpy(guest->name, name, sizeof guest->name);
	return guest;
}

struct kore_buf *guest_text(const struct guest *guest, const void *data, size_t len)
{
	struct kore_buf *buf = kore_buf_alloc(64);

	kore_buf_appendf(buf, VERSION " worker %u of %u: %s %u: ", (unsigned)worker->id, (unsigned)worker_count,
	    guest->name, guest->said);
	kore_buf_append(buf, data, len);
	return buf;
}

int register_again(void)
{
	return kore_msg_register(MSG_NEWS, news_received);
}

void news_received(struct kore_msg *msg, const void *data)
{
	kore_websocket_broadcast(NULL, WEBSOCKET_OP_TEXT, data, msg->length, WEBSOCKET_BROADCAST_LOCAL);
}

/* "news" goes to the clients of all workers. */
void talk_message(struct connection *c, u_int8_t op, const void *data, size_t len)
{
	struct guest *guest = c->hdlr_extra;

	(void)op;
	guest->said++;
	if (len == 4 && memcmp(data, "news", 4) == 0)
		kore_msg_send(KORE_MSG_WORKER_ALL, MSG_NEWS, data, len);
	else
		say(c, guest, data, len);
}

void talk_disconnect(struct connection *c)
{
	const struct guest *guest = c->hdlr_extra;

	kore_log(LOG_INFO, VERSION ": %s has said %u things", guest->name, guest->said);
}

int callsign_save(struct connection *c)
{
	return callsign_keep(c->hdlr_extra, sizeof(struct guest));
}

int callsign_restore(struct connection *c, uint32_t version, const void *state, size_t length)
{
	if (version != CALLSIGN_STATE_VERSION || length != sizeof(struct guest))
		return KORE_RESULT_ERROR;
	c->hdlr_extra = memcpy(kore_malloc(length), state, length);
	return KORE_RESULT_OK;
}
