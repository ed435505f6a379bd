// A C++ program over both libraries: a group of one sums, and a model that is not
// there is an error in words.
#include <dhole/dhole.h>

#include <cstdio>
#include <cstring>

int main()
{
    dhole_group *group = nullptr;
    dhole_options options = DHOLE_OPTIONS_INIT;
    float x[3] = {1, 2, 3}, sum[3] = {};

    options.timeout_ms = 1000;
    if (dhole_init(&options, &group) != DHOLE_OK) {
        std::fprintf(stderr, "%s\n", dhole_error_message());
        return 1;
    }
    dhole_err err = dhole_all_sum(group, x, sum, 3, DHOLE_F32);
    bool right = err == DHOLE_OK && dhole_size(group) == 1 && std::memcmp(x, sum, sizeof x) == 0;
    dhole_group_free(group);

    dhole_model *model = nullptr;
    right = right && dhole_model_open("/nonexistent.gguf", &model) == DHOLE_ERR_SYSTEM &&
            std::strstr(dhole_error_message(), "/nonexistent.gguf") != nullptr;
    right = right && std::strcmp(dhole_parallel_name(DHOLE_PARALLEL_TP), "tp") == 0;

    char version[32];
    std::snprintf(version, sizeof version, "%d.%d.%d", DHOLE_VERSION_MAJOR, DHOLE_VERSION_MINOR,
                  DHOLE_VERSION_PATCH);
    right = right && std::strcmp(version, dhole_version()) == 0;
    std::puts(right ? "ok" : dhole_error_message());
    return right ? 0 : 1;
}
