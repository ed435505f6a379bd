/* What ssh runs on another host has a session of its own, and so a process group of its own: the
 * shell of the script below, the program, and what that starts. `kill -s KILL 0` there is the end
 * of all of it. Four processes watch each other: the shell waits for the program, one reads orders,
 * one looks whether the orders go on and the shell is there, and sshd ends the orders when the
 * launcher's ssh is gone.
 *
 * The script comes through stdin, as the command of ssh is parsed by whatever shell the user has
 * there, and anybody can read it in the list of processes. The files follow it, as keys are among
 * them, and a shell may hand its words to other programs. */
#include "cli/launch_ssh.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { stdin_rank = 0 }; /* the one that has the stdin of the launcher */

static const char signals[] = "HUP INT QUIT TERM USR1 USR2"; /* those that are passed on */

/* A script that is being written; after an error nothing is added. */
struct script {
    struct dhole__buf *buf;
    dhole_err err;
};

static void add(struct script *script, const void *text, size_t length)
{
    if (script->err == DHOLE_OK)
        script->err = dhole__buf_add(script->buf, text, length);
}

static void put(struct script *script, const char *format, ...) DHOLE__PRINTF(2, 3);

static void put(struct script *script, const char *format, ...)
{
    char text[2048];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    add(script, text, strlen(text));
}

/* One word of a shell, whatever is in it. */
static void quote(struct script *script, const char *text)
{
    put(script, "'");
    for (;;) {
        size_t n = strcspn(text, "'");
        add(script, text, n);
        if (text[n] == '\0')
            break;
        put(script, "'\\''");
        text += n + 1;
    }
    put(script, "'");
}

static bool has_file(const struct dhole__launch_job *job, int r, int i)
{
    return job->file[i].rank < 0 || job->file[i].rank == r;
}

/* Functions, and a private directory with the files. Who passes stdin on may make a file in it
 * while it is removed, once. */
static void put_beginning(struct script *script, const struct dhole__launch_job *job, int r,
                          const char *dir)
{
    put(script, "dhole_dir=%s\n", dir);
    put(script, "mark() { printf '\\036dhole-%s %%s\\n' \"$1\"; }\n", job->id);
    put(script,
        "sweep() {\n"
        "  for file in $(grep -l '" DHOLE__LAUNCH_MARK
        "=%s-%02d' /proc/[0-9]*/environ 2>/dev/null); do\n"
        "    pid=${file#/proc/}\n"
        "    kill -s KILL \"${pid%%/environ}\" 2>/dev/null\n"
        "  done\n"
        "}\n",
        job->id, r);
    put(script, "remove() { rm -rf \"$dhole_dir\" || rm -rf \"$dhole_dir\"; }\n"
                "end() { remove; sweep; kill -s KILL 0; }\n"
                "mkdir -m 700 \"$dhole_dir\" || { mark \"fail cannot make $dhole_dir\"; exit 1; }\n"
                "echo 0 >\"$dhole_dir/beat\"\n");
    for (int i = 0; i < job->files; i++)
        if (has_file(job, r, i))
            put(script, "(umask 077; dd bs=1 count=%zu >\"$dhole_dir/%s\" 2>/dev/null)\n",
                strlen(job->file[i].text), job->file[i].name);
    if (r == stdin_rank)
        put(script, "mkfifo -m 600 \"$dhole_dir/stdin\"\n");
}

static void put_cwd(struct script *script, const struct dhole__launch_job *job)
{
    char here[4096];

    if (job->cwd == NULL && getcwd(here, sizeof here) == NULL)
        return;
    put(script, "CDPATH= cd -- ");
    quote(script, job->cwd != NULL ? job->cwd : here);
    if (job->cwd != NULL)
        put(script, " || { remove; mark 'fail cannot change to the directory of --cwd'; "
                    "exit 1; }\n");
    else
        put(script, " 2>/dev/null\n");
}

/* Descriptor 3 is the orders, 4 the program's stderr: the shell's own is closed to keep its
 * "Killed" to itself. */
static void put_watchers(struct script *script)
{
    put(script, "exec 3<&0 </dev/null\n");
    put(script,
        "{\n"
        "  trap '' %s\n"
        "  while read -r verb word; do\n"
        "    case $verb in\n"
        "    beat) echo \"$word\" >\"$dhole_dir/beat\" ;;\n"
        "    signal) kill -s \"$word\" 0 ;;\n"
        "    esac\n"
        "  done\n"
        "  end\n"
        "} <&3 3<&- >/dev/null 2>&1 &\n",
        signals);
    put(script,
        "{\n"
        "  trap '' %s\n"
        "  old=\n"
        "  while sleep %d; do\n"
        "    kill -0 $$ || break\n"
        "    read -r new <\"$dhole_dir/beat\"\n"
        "    [ \"$new\" != \"$old\" ] || break\n"
        "    old=$new\n"
        "  done\n"
        "  end\n"
        "} </dev/null 3<&- >/dev/null 2>&1 &\n",
        signals, dhole__ssh_silence_s);
    put(script,
        "trap : %s\n"
        "mark start\n"
        "exec 4>&2 2>/dev/null\n",
        signals);
}

/* In a subshell, where the signals have their default effect again, and which dies with the shell
 * above it where util-linux can arrange that. Rank 0 waits here for whoever passes it its stdin. */
static void put_program(struct script *script, const struct dhole__launch_job *job, int r)
{
    const struct dhole__buf *variables = &job->rank[r].variables;

    put(script, "(\n  unset");
    for (int i = 0; dhole__launch_unset[i] != NULL; i++)
        put(script, " %s", dhole__launch_unset[i]);
    for (size_t at = 0; at < variables->len;) {
        const char *text = (const char *)variables->data + at;
        size_t name = strcspn(text, "=");
        put(script, "\n  export ");
        add(script, text, name + 1);
        quote(script, text + name + 1);
        at += strlen(text) + 1;
    }
    put(script, "\n  set --");
    for (char *const *word = job->command; *word != NULL; word++) {
        put(script, " ");
        quote(script, *word);
    }
    put(script,
        "\n  setpriv --pdeathsig KILL true 2>/dev/null &&\n"
        "    exec setpriv --pdeathsig KILL -- \"$@\"\n"
        "  exec \"$@\"\n"
        ") <%s 2>&4 3<&- 4>&-\n",
        r == stdin_rank ? "\"$dhole_dir/stdin\"" : "/dev/null");
}

dhole_err dhole__ssh_script(const struct dhole__launch_job *job, int r, struct dhole__buf *out)
{
    struct script script = {out, DHOLE_OK};
    char dir[dhole__launch_path_size];

    dhole__launch_dir(job, r, dir);
    put_beginning(&script, job, r, dir);
    put_cwd(&script, job);
    put_watchers(&script);
    put_program(&script, job, r);
    put(&script,
        "code=$?\n"
        "trap '' %s\n"
        "mark \"exit $code\"\n"
        "remove\n"
        "sweep\n"
        "kill -s KILL 0\n",
        signals);
    return script.err;
}

dhole_err dhole__ssh_files(const struct dhole__launch_job *job, int r, struct dhole__buf *out)
{
    dhole_err err = DHOLE_OK;

    for (int i = 0; i < job->files && err == DHOLE_OK; i++)
        if (has_file(job, r, i))
            err = dhole__buf_add(out, job->file[i].text, strlen(job->file[i].text));
    return err;
}

static void set_argv(const char *host, struct dhole__ssh_command *out)
{
    const char *const argv[] = {"ssh",        "-T",
                                "-a",         "-x",
                                "-o",         "BatchMode=yes",
                                "-o",         "ConnectTimeout=10",
                                "-o",         "ServerAliveInterval=5",
                                "-o",         "ServerAliveCountMax=3",
                                "--",         host,
                                out->command, NULL};

    static_assert(sizeof argv <= sizeof out->argv, "room for all words");
    memcpy(out->argv, argv, sizeof argv);
}

void dhole__ssh_start(const struct dhole__launch_job *job, int r, size_t script_length,
                      struct dhole__ssh_command *out)
{
    snprintf(out->command, sizeof out->command,
             "exec /bin/sh -c 'eval \"$(dd bs=1 count=%zu 2>/dev/null)\"'", script_length);
    set_argv(job->rank[r].host, out);
}

/* Opened for reading too at first, no open() waits for a rank that may be gone already. */
void dhole__ssh_feed(const struct dhole__launch_job *job, struct dhole__ssh_command *out)
{
    char dir[dhole__launch_path_size];

    dhole__launch_dir(job, stdin_rank, dir);
    snprintf(out->command, sizeof out->command,
             "exec /bin/sh -c 'exec 2>/dev/null; in=%s/stdin; exec 3<>$in 4>$in 3<&-; "
             "cat >&4 4>&-; exit 0'",
             dir);
    set_argv(job->rank[stdin_rank].host, out);
}
