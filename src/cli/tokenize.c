#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "dhole/model.h"

static void print(const int32_t *tokens, size_t count)
{
    for (size_t i = 0; i < count; i++)
        printf("%s%d", i > 0 ? " " : "", (int)tokens[i]);
    printf("\n");
}

static int run(const char *path, const char *text)
{
    dhole_model *model;
    int32_t *tokens;
    size_t count;
    dhole_err err = dhole_model_open(path, &model);

    if (err)
        return dhole__report_model(err);
    err = dhole_tokenize(model, text, strlen(text), true, &tokens, &count);
    if (err == DHOLE_OK) {
        print(tokens, count);
        free(tokens);
    }
    dhole_model_close(model);
    return err ? dhole__report(err) : DHOLE__EXIT_DONE;
}

static int tokenize(int argc, char **argv)
{
    static const struct option options[] = {
        {"model", required_argument, NULL, 'm'},
        {"text", required_argument, NULL, 't'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    const char *model = NULL, *text = NULL;
    int c;

    while ((c = dhole__next_option(argc, argv, options)) != -1) {
        switch (c) {
        case 'm': model = optarg; break;
        case 't': text = optarg; break;
        case 'h': return dhole__help_on(&dhole__cmd_tokenize);
        default: return DHOLE__EXIT_USAGE;
        }
    }
    if (model == NULL)
        return dhole__usage(argv[0], "--model FILE is missing");
    if (text == NULL)
        return dhole__usage(argv[0], "--text TEXT is missing");
    return run(model, text);
}

const struct dhole__subcommand dhole__cmd_tokenize = {
    .name = "tokenize",
    .summary = "prints the token ids of a text",
    .help =
        "Usage: dhole tokenize --model FILE --text TEXT\n"
        "\n"
        "Prints the ids on one line. Names of control tokens in the text, such as <|im_start|>,\n"
        "become those tokens.\n"
        "\n"
        "Example:\n"
        "  dhole tokenize --model smol.gguf --text \"What is a dhole?\"\n",
    .run = tokenize,
};
