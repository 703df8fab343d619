/* What applications do with Kore that its documentation does not promise. */
#include <kore/kore.h>
#include <kore/http.h>

#include <ctype.h>
#include <pthread.h>
#include <sys/mman.h>

int talk(struct http_request *);
void text(struct connection *, u_int8_t, void *, size_t);
void bare(struct connection *, u_int8_t, void *, size_t);
int count(struct http_request *);

/* Memory that kore_parent_configure maps, and that everything else uses without a check. */
static int *shared;

void kore_parent_configure(int argc, char *argv[])
{
	(void)argc;
	(void)argv;
	shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_SHARED, -1, 0);
}

int count(struct http_request *req)
{
	char number[32];
	int length = snprintf(number, sizeof number, "%d", ++*shared);

	http_response(req, 200, number, (size_t)length);
	return KORE_RESULT_OK;
}

int talk(struct http_request *req)
{
	kore_websocket_handshake(req, NULL, req->query_string[0] == 'b' ? "bare" : "text", NULL);
	kore_websocket_send(req->owner, WEBSOCKET_OP_TEXT, "first", 5);
	return KORE_RESULT_OK;
}

static void *thread(void *c)
{
	kore_websocket_broadcast(NULL, WEBSOCKET_OP_TEXT, "progress", 8, WEBSOCKET_BROADCAST_GLOBAL);
	kore_websocket_send(c, WEBSOCKET_OP_TEXT, "mine", 4);
	kore_msg_send(KORE_MSG_WORKER_ALL, 210, "x", 1);
	return NULL;
}

/* Ends the text itself and changes it in place. */
void text(struct connection *c, u_int8_t op, void *data, size_t len)
{
	char *text = data;
	size_t i;
	pthread_t t;

	for (i = 0; i < len; i++)
		text[i] = (char)toupper((unsigned char)text[i]);
	text[len] = '\0';
	if (strcmp(text, "THREAD") == 0 && pthread_create(&t, NULL, thread, c) == 0)
		pthread_join(t, NULL);
	kore_websocket_send(c, op, text, strlen(text));
}

/* Takes data for a string. */
void bare(struct connection *c, u_int8_t op, void *data, size_t len)
{
	char copy[4096];

	(void)len;
	snprintf(copy, sizeof copy, "%s", (char *)data);
	kore_websocket_send(c, op, copy, strlen(copy));
}
