/* Runs a fuzz target on each file of the directories that are named, without a fuzzer. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "fuzz.h"

enum { input_max = 1 << 20 };

/* In memory of exactly the file's size, so that a sanitizer sees reads beyond. */
static int replay(const char *path)
{
    static uint8_t buf[input_max];
    FILE *f = fopen(path, "rb");
    uint8_t *copy;
    size_t n;

    if (f == NULL)
        return -1;
    n = fread(buf, 1, sizeof buf, f);
    fclose(f);
    copy = malloc(n > 0 ? n : 1);
    if (copy == NULL)
        return -1;
    for (size_t i = 0; i < n; i++)
        copy[i] = buf[i];
    LLVMFuzzerTestOneInput(copy, n);
    free(copy);
    return 0;
}

int main(int argc, char **argv)
{
    char path[4096];
    int inputs = 0;

    for (int i = 1; i < argc; i++) {
        DIR *dir = opendir(argv[i]);
        struct dirent *entry;
        while (dir != NULL && (entry = readdir(dir)) != NULL) {
            if (entry->d_name[0] == '.')
                continue;
            snprintf(path, sizeof path, "%s/%s", argv[i], entry->d_name);
            if (replay(path) != 0) {
                perror(path);
                return 1;
            }
            inputs++;
        }
        if (dir == NULL) {
            perror(argv[i]);
            return 1;
        }
        closedir(dir);
    }
    printf("%d inputs replayed\n", inputs);
    return inputs == 0;
}
