/* Declarations that the two files of the library share. -DVERSION="…" is the library's version. */
#include <kore/kore.h>
#include <kore/http.h>

#define MSG_NEWS (KORE_MSG_APP_BASE + 1)

/* hdlr_extra of a connection. */
struct guest {
	u_int32_t said;
	char name[32];
};

/* kore_two_talk.c */
struct guest *guest_new(struct http_request *);
struct kore_buf *guest_text(const struct guest *, const void *, size_t);
void talk_message(struct connection *, u_int8_t, const void *, size_t);
void talk_disconnect(struct connection *);
void news_received(struct kore_msg *, const void *);
int register_again(void);

/* kore_two_pages.c */
int enter(struct http_request *);
void say(struct connection *, const struct guest *, const void *, size_t);
