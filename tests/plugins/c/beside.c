/* Finds its files beside itself. "read NAME" answers with the first line of a file, "append NAME" writes to one. */
#define _GNU_SOURCE
#include <callsign.h>
#include <dlfcn.h>
#include <libgen.h>
#include <limits.h>

CALLSIGN_PLUGIN("beside", "1");

void onmessage(struct connection *c, uint8_t op, const void *data, size_t length)
{
	char own[PATH_MAX], path[2 * PATH_MAX], line[100] = "";
	const char *text = data;
	const char *name = strchr(text, ' ');
	Dl_info info;
	FILE *file;
	(void)op, (void)length;
	dladdr((void *)onmessage, &info);
	snprintf(own, sizeof own, "%s", info.dli_fname);
	snprintf(path, sizeof path, "%s/%s", dirname(own), name == NULL ? "" : name + 1);
	file = fopen(path, text[0] == 'r' ? "r" : "a");
	if (file == NULL) {
		callsign_text(c, "no such file");
		return;
	}
	if (text[0] == 'r' && fgets(line, sizeof line, file) == NULL)
		line[0] = '\0';
	if (text[0] == 'a')
		fputs("more", file);
	fclose(file);
	callsign_text(c, line);
}
