/*
 * A driver of libpurple's "prpl-sipe" (pidgin-sipe) without a screen.
 *
 * Signs one account on to a Lync server, prints what happens as JSON lines on
 * standard output, and does what it is told on standard input:
 *
 *     buddy URI      watch somebody (an event buddy-status follows each change)
 *     status ID      available busy away do-not-disturb be-right-back invisible
 *     leave          sign off and end
 *
 * Exit status: 0 left when told (or at the end of standard input)
 *              2 usage or set-up
 *              3 sign-on failed or connection lost
 *              4 --timeout is over
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <getopt.h>
#include <locale.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <glib.h>
#include <glib-unix.h>
#include <libxml/parser.h>
#include <purple.h>

#define UI_ID "lync-presence-lab"

static struct {
	const char *host, *port, *transport, *user, *login, *password;
	const char *home, *debugfile, *peercert, *authentication;
	int timeout;
} opt = { "127.0.0.1", "5060", "tcp", NULL, NULL, NULL, NULL, NULL, NULL, "ntlm", 60 };

static GMainLoop *loop;
static PurpleAccount *account;
static FILE *debugfp;
static gint64 t0;
static gboolean closing;
static int rc = 3;

/* ------------------------------------------- Debian 12 work-around (libxml2)
 *
 * libsipe 1.25.0 hands xmlSAXUserParseMemory() a handler table marked as SAX2
 * that has SAX1 call-backs only. libxml2 2.9.14 then calls nothing at all and
 * returns success, so that libsipe sees no XML whatever a server sends. This
 * definition in the main program takes precedence; it marks a copy of such a
 * table as SAX1 and passes it on. The plug-in itself is untouched.
 */
__attribute__((visibility("default")))
int xmlSAXUserParseMemory(xmlSAXHandlerPtr sax, void *data, const char *buf, int len)
{
	static int (*next)(xmlSAXHandlerPtr, void *, const char *, int);
	if (!next)
		*(void **)&next = dlsym(RTLD_NEXT, "xmlSAXUserParseMemory");
	if (!next)
		abort();
	if (sax && sax->initialized == XML_SAX2_MAGIC && sax->startElement &&
	    !sax->startElementNs && !sax->endElementNs) {
		xmlSAXHandler copy = *sax;
		copy.initialized = 1;
		return next(&copy, data, buf, len);
	}
	return next(sax, data, buf, len);
}

/* --------------------------------------------- libpurple 2.14 work-around
 *
 * A circular buffer that was filled to its last octet and emptied has its two
 * pointers at different ends. If it has to grow then, the next message comes
 * out with its tail first. A first REGISTER of exactly 768 octets does that,
 * and its length depends on random tags. With room for everything from the
 * beginning it never grows.
 */
__attribute__((visibility("default")))
PurpleCircBuffer *purple_circ_buffer_new(gsize growsize)
{
	static PurpleCircBuffer *(*next)(gsize);
	if (!next)
		*(void **)&next = dlsym(RTLD_NEXT, "purple_circ_buffer_new");
	if (!next)
		abort();
	return next(MAX(growsize, 1024 * 1024));
}

/* ---------------------------------------------------------------- output */

static char *json_quote(const char *s)
{
	GString *g = g_string_new("\"");
	if (!s) { g_string_free(g, TRUE); return g_strdup("null"); }
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;
		if (c == '"' || c == '\\') g_string_append_printf(g, "\\%c", c);
		else if (c < 0x20) g_string_append_printf(g, "\\u%04x", c);
		else g_string_append_c(g, (char)c);
	}
	g_string_append_c(g, '"');
	return g_string_free(g, FALSE);
}

/* emit("name", "key", "value", ..., NULL) - all values are strings */
static void emit(const char *event, ...)
{
	va_list ap;
	const char *k;
	printf("{\"t\": %.3f, \"event\": \"%s\"",
	       (double)(g_get_monotonic_time() - t0) / 1e6, event);
	va_start(ap, event);
	while ((k = va_arg(ap, const char *)) != NULL) {
		char *v = json_quote(va_arg(ap, const char *));
		printf(", \"%s\": %s", k, v);
		g_free(v);
	}
	va_end(ap);
	printf("}\n");
	fflush(stdout);
}

/* ------------------------------------------------------- libpurple set-up */

static void glib_log(const gchar *domain, GLogLevelFlags level, const gchar *msg, gpointer p)
{
	(void)level; (void)p;
	if (debugfp)
		fprintf(debugfp, "[glib] %s: %s\n", domain ? domain : "-", msg);
}

static void dbg_print(PurpleDebugLevel level, const char *cat, const char *txt)
{
	(void)level;
	if (debugfp) {
		fprintf(debugfp, "[%.3f] %s: %s",
			(double)(g_get_monotonic_time() - t0) / 1e6,
			cat ? cat : "-", txt);
		fflush(debugfp);
	}
}
static gboolean dbg_on(PurpleDebugLevel l, const char *c)
{
	(void)l; (void)c;
	return debugfp != NULL;
}
static PurpleDebugUiOps dbg_ops = { .print = dbg_print, .is_enabled = dbg_on };

struct io { PurpleInputFunction fn; gpointer data; };

static gboolean io_ready(GIOChannel *ch, GIOCondition cond, gpointer p)
{
	struct io *io = p;
	int what = 0;
	if (cond & (G_IO_IN | G_IO_HUP | G_IO_ERR)) what |= PURPLE_INPUT_READ;
	if (cond & (G_IO_OUT | G_IO_HUP | G_IO_ERR)) what |= PURPLE_INPUT_WRITE;
	io->fn(io->data, g_io_channel_unix_get_fd(ch), what);
	return TRUE;
}
static guint io_add(int fd, PurpleInputCondition want, PurpleInputFunction fn,
		    gpointer data)
{
	struct io *io = g_new0(struct io, 1);
	GIOCondition c = G_IO_HUP | G_IO_ERR | G_IO_NVAL;
	GIOChannel *ch = g_io_channel_unix_new(fd);
	guint id;
	io->fn = fn;
	io->data = data;
	if (want & PURPLE_INPUT_READ) c |= G_IO_IN;
	if (want & PURPLE_INPUT_WRITE) c |= G_IO_OUT;
	id = g_io_add_watch_full(ch, G_PRIORITY_DEFAULT, c, io_ready, io, g_free);
	g_io_channel_unref(ch);
	return id;
}
static PurpleEventLoopUiOps loop_ops = {
	.timeout_add = g_timeout_add,
	.timeout_remove = g_source_remove,
	.input_add = io_add,
	.input_remove = g_source_remove,
	.timeout_add_seconds = g_timeout_add_seconds,
};

/* Report pop-ups as events; nobody is there to answer them. */
static void *note_message(PurpleNotifyMsgType type, const char *title,
			  const char *primary, const char *secondary)
{
	(void)type;
	emit("notify", "title", title, "primary", primary, "secondary", secondary, NULL);
	return NULL;
}
static PurpleNotifyUiOps notify_ops = { .notify_message = note_message };

static void *req_action(const char *title, const char *primary,
			const char *secondary, int default_action,
			PurpleAccount *a, const char *who,
			PurpleConversation *conv, void *user_data,
			size_t n, va_list actions)
{
	(void)default_action; (void)a; (void)who; (void)conv;
	(void)user_data; (void)n; (void)actions;
	emit("request", "title", title, "primary", primary, "secondary", secondary, NULL);
	return NULL;
}
static PurpleRequestUiOps request_ops = { .request_action = req_action };

static void *acc_authorize(PurpleAccount *a, const char *who, const char *id,
			   const char *alias, const char *msg, gboolean on_list,
			   PurpleAccountRequestAuthorizationCb yes,
			   PurpleAccountRequestAuthorizationCb no, void *d)
{
	(void)a; (void)id; (void)alias; (void)msg; (void)on_list; (void)no;
	emit("authorize", "who", who, NULL);
	if (yes) yes(d);
	return NULL;
}
static void acc_added(PurpleAccount *a, const char *who, const char *id,
		      const char *alias, const char *msg)
{
	(void)a; (void)id; (void)alias; (void)msg;
	emit("added-by", "who", who, NULL);
}
static PurpleAccountUiOps account_ops = {
	.notify_added = acc_added,
	.request_add = acc_added,
	.request_authorize = acc_authorize,
};

static void core_ui_init(void)
{
	purple_notify_set_ui_ops(&notify_ops);
	purple_request_set_ui_ops(&request_ops);
	purple_accounts_set_ui_ops(&account_ops);
}
static PurpleCoreUiOps core_ops = { .ui_init = core_ui_init };

/* ------------------------------------------------------------ scenario */

static gboolean quit_cb(gpointer p) { (void)p; g_main_loop_quit(loop); return FALSE; }

static gboolean leave_cb(gpointer p)
{
	(void)p;
	if (account && purple_account_get_connection(account)) {
		purple_account_disconnect(account);
		/* let the de-registration reach the wire */
		g_timeout_add(700, quit_cb, NULL);
	} else
		g_main_loop_quit(loop);
	return FALSE;
}

static void finish(int code)
{
	if (closing) return;
	closing = TRUE;
	rc = code;
	emit("closing", NULL);
	/* never from inside a plug-in call-back: it would free what it is using */
	g_timeout_add(50, leave_cb, NULL);
}

static gboolean deadline_cb(gpointer p)
{
	(void)p;
	emit("timeout", NULL);
	finish(4);
	return FALSE;
}

static const char *buddy_state(PurpleBuddy *b)
{
	PurpleStatus *s = purple_presence_get_active_status(purple_buddy_get_presence(b));
	return s ? purple_status_get_id(s) : "?";
}

static void cb_buddy_status(PurpleBuddy *b, PurpleStatus *old, PurpleStatus *now)
{
	emit("buddy-status", "buddy", purple_buddy_get_name(b),
	     "old", old ? purple_status_get_id(old) : NULL,
	     "new", now ? purple_status_get_id(now) : "?", "how", "changed", NULL);
}
static void cb_buddy_on(PurpleBuddy *b)
{
	emit("buddy-status", "buddy", purple_buddy_get_name(b), "old", "offline",
	     "new", buddy_state(b), "how", "signed-on", NULL);
}
static void cb_buddy_off(PurpleBuddy *b)
{
	emit("buddy-status", "buddy", purple_buddy_get_name(b), "old", NULL,
	     "new", "offline", "how", "signed-off", NULL);
}

static void add_buddy(const char *name)
{
	PurpleGroup *g = purple_find_group("Other Contacts");
	PurpleBuddy *b;
	if (!g) {
		g = purple_group_new("Other Contacts");
		purple_blist_add_group(g, NULL);
	}
	b = purple_buddy_new(account, name, NULL);
	purple_blist_add_buddy(b, NULL, g, NULL);
	purple_account_add_buddy(account, b);
	emit("buddy-added", "buddy", name, NULL);
}

/* One line of standard input. */
static void obey(const char *line)
{
	if (g_str_has_prefix(line, "buddy "))
		add_buddy(line + 6);
	else if (g_str_has_prefix(line, "status ")) {
		emit("set-status", "status", line + 7, NULL);
		purple_account_set_status(account, line + 7, TRUE, NULL);
	} else if (!strcmp(line, "leave"))
		finish(0);
	else
		emit("not-understood", "line", line, NULL);
}

static gboolean stdin_ready(GIOChannel *ch, GIOCondition cond, gpointer p)
{
	char *line = NULL;
	(void)cond; (void)p;
	if (g_io_channel_read_line(ch, &line, NULL, NULL, NULL) != G_IO_STATUS_NORMAL) {
		finish(0);
		return FALSE;
	}
	if (!closing && purple_account_is_connected(account))
		obey(g_strchomp(line));
	g_free(line);
	return TRUE;
}

static void cb_signed_on(PurpleConnection *gc)
{
	(void)gc;
	emit("signed-on", "account", purple_account_get_username(account), NULL);
}
static void cb_signed_off(PurpleConnection *gc)
{
	(void)gc;
	emit("signed-off", NULL);
}
static void cb_conn_error(PurpleConnection *gc, PurpleConnectionError err,
			  const char *text)
{
	char code[16];
	(void)gc;
	g_snprintf(code, sizeof code, "%d", (int)err);
	emit("connection-error", "code", code, "text", text, NULL);
	if (!closing) {
		closing = TRUE;
		rc = 3;
		g_timeout_add(50, quit_cb, NULL);
	}
}

static gboolean on_signal(gpointer p)
{
	(void)p;
	finish(0);
	return TRUE;
}

/* ---------------------------------------------------------------- set-up */

static void usage(void)
{
	fprintf(stderr,
"usage: driver --host H --port P --transport tcp|tls --user a@dom --password PW\n"
"  --login 'DOM\\user' --home DIR [--peer-cert PEM] [--debug FILE] [--timeout S]\n"
"  [--authentication ntlm|krb5|tls-dsk]\n");
	exit(2);
}

/* Trust the certificate in a file, whatever it says. */
static int pin(const char *host, const char *from)
{
	char *dir = g_build_filename(opt.home, "certificates", "x509", "tls_peers", NULL);
	char *dst = g_build_filename(dir, purple_escape_filename(host), NULL);
	char *pem = NULL;
	gsize len = 0;
	int failed = g_mkdir_with_parents(dir, 0700) ||
		!g_file_get_contents(from, &pem, &len, NULL) ||
		!g_file_set_contents(dst, pem, (gssize)len, NULL);
	g_free(pem); g_free(dst); g_free(dir);
	return failed;
}

int main(int argc, char **argv)
{
	static const struct option lo[] = {
		{"host", 1, 0, 'h'}, {"port", 1, 0, 'p'}, {"transport", 1, 0, 't'},
		{"user", 1, 0, 'u'}, {"login", 1, 0, 'l'}, {"password", 1, 0, 'w'},
		{"home", 1, 0, 'd'}, {"peer-cert", 1, 0, 'c'}, {"debug", 1, 0, 'D'},
		{"timeout", 1, 0, 'T'}, {"authentication", 1, 0, 'a'}, {0, 0, 0, 0}
	};
	char *name, *server;
	int c;

	/* the plug-in converts passwords from the charset of the locale */
	if (!setlocale(LC_ALL, "") || !g_get_charset(NULL))
		setlocale(LC_ALL, "C.UTF-8");
	t0 = g_get_monotonic_time();
	while ((c = getopt_long(argc, argv, "", lo, NULL)) != -1) {
		switch (c) {
		case 'h': opt.host = optarg; break;
		case 'p': opt.port = optarg; break;
		case 't': opt.transport = optarg; break;
		case 'u': opt.user = optarg; break;
		case 'l': opt.login = optarg; break;
		case 'w': opt.password = optarg; break;
		case 'd': opt.home = optarg; break;
		case 'c': opt.peercert = optarg; break;
		case 'D': opt.debugfile = optarg; break;
		case 'T': opt.timeout = atoi(optarg); break;
		case 'a': opt.authentication = optarg; break;	/* ntlm, krb5 or tls-dsk */
		default: usage();
		}
	}
	if (!opt.user || !opt.login || !opt.password || !opt.home || optind != argc ||
	    (strcmp(opt.transport, "tcp") && strcmp(opt.transport, "tls")))
		usage();

	alarm((unsigned)opt.timeout + 10);	/* last resort */
	signal(SIGPIPE, SIG_IGN);
	setvbuf(stdout, NULL, _IOLBF, 0);

	if (opt.debugfile && !(debugfp = fopen(opt.debugfile, "w"))) {
		perror(opt.debugfile);
		return 2;
	}
	purple_util_set_user_dir(opt.home);
	if (opt.peercert && pin(opt.host, opt.peercert)) {
		fprintf(stderr, "driver: cannot pin %s\n", opt.peercert);
		return 2;
	}

	g_log_set_default_handler(glib_log, NULL);
	purple_debug_set_ui_ops(&dbg_ops);
	purple_debug_set_enabled(FALSE);
	if (debugfp) purple_debug_set_verbose(TRUE);
	purple_core_set_ui_ops(&core_ops);
	purple_eventloop_set_ui_ops(&loop_ops);
	purple_plugins_add_search_path(PLUGIN_DIR);
	purple_plugins_add_search_path("/usr/lib/purple-2");	/* where Debian's pidgin-sipe is */
	if (!purple_core_init(UI_ID)) {
		fprintf(stderr, "driver: libpurple initialisation failed\n");
		return 2;
	}
	purple_set_blist(purple_blist_new());
	purple_blist_load();
	purple_prefs_load();
	/* no idle/away automatics: only standard input may change our state */
	purple_prefs_set_bool("/purple/away/away_when_idle", FALSE);
	purple_prefs_set_string("/purple/away/idle_reporting", "none");
	purple_prefs_set_string("/purple/network/ip_address", "");
	purple_prefs_set_bool("/purple/logging/log_system", FALSE);
	purple_prefs_set_bool("/purple/logging/log_ims", FALSE);

	if (!purple_find_prpl("prpl-sipe")) {
		fprintf(stderr, "driver: prpl-sipe is not installed\n");
		return 2;
	}

	name = g_strdup_printf("%s,%s", opt.user, opt.login);
	server = g_strdup_printf("%s:%s", opt.host, opt.port);
	account = purple_account_new(name, "prpl-sipe");
	purple_accounts_add(account);
	purple_account_set_password(account, opt.password);
	purple_account_set_string(account, "server", server);
	purple_account_set_string(account, "transport", opt.transport);
	purple_account_set_string(account, "authentication", opt.authentication);
	purple_account_set_bool(account, "sso", FALSE);
	purple_account_set_bool(account, "dont-publish", TRUE); /* no calendar look-ups */

	{
		void *bl = purple_blist_get_handle();
		void *cn = purple_connections_get_handle();
		static int h;
		purple_signal_connect(bl, "buddy-status-changed", &h, PURPLE_CALLBACK(cb_buddy_status), NULL);
		purple_signal_connect(bl, "buddy-signed-on", &h, PURPLE_CALLBACK(cb_buddy_on), NULL);
		purple_signal_connect(bl, "buddy-signed-off", &h, PURPLE_CALLBACK(cb_buddy_off), NULL);
		purple_signal_connect(cn, "signed-on", &h, PURPLE_CALLBACK(cb_signed_on), NULL);
		purple_signal_connect(cn, "signed-off", &h, PURPLE_CALLBACK(cb_signed_off), NULL);
		purple_signal_connect(cn, "connection-error", &h, PURPLE_CALLBACK(cb_conn_error), NULL);
	}

	loop = g_main_loop_new(NULL, FALSE);
	g_unix_signal_add(SIGTERM, on_signal, NULL);
	g_unix_signal_add(SIGINT, on_signal, NULL);
	g_timeout_add_seconds((guint)opt.timeout, deadline_cb, NULL);
	g_io_add_watch(g_io_channel_unix_new(STDIN_FILENO), G_IO_IN | G_IO_HUP, stdin_ready, NULL);

	emit("start", "server", server, "transport", opt.transport, "user", opt.user, NULL);
	purple_account_set_enabled(account, UI_ID, TRUE);
	purple_savedstatus_activate(purple_savedstatus_new(NULL, PURPLE_STATUS_AVAILABLE));

	g_main_loop_run(loop);

	purple_core_quit();
	return rc;
}
