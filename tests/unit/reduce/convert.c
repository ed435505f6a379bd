/* Every 16-bit pattern widened, and every upper half of f32 narrowed with the lower halves around
 * each rounding boundary. */
#include <math.h>
#include <stdint.h>

#include "reference.h"
#include "sets.h"
#include "test.h"

enum { patterns = 65536 };

static const struct {
    const char *name;
    const struct format *format;
} types[] = {{"f16", &format_f16}, {"bf16", &format_bf16}};

static const struct dhole__wide_loops *wide(int type)
{
    return type == 0 ? &dhole__loops()->f16 : &dhole__loops()->bf16;
}

TEST(every_pattern_widens_exactly)
{
    static uint16_t in[patterns];
    static float out[patterns];
    const char *sets[sets_max];
    int n = loop_sets(sets);

    for (int i = 0; i < patterns; i++)
        in[i] = (uint16_t)i;
    for (int s = 0; s < n; s++) {
        ASSERT(dhole__loops_use(sets[s]));
        for (int type = 0; type < 2; type++) {
            wide(type)->start(out, in, patterns);
            for (int i = 0; i < patterns; i++) {
                float want = (float)reference_decode(types[type].format, in[i]);
                ASSERT_MSG(memcmp(&out[i], &want, sizeof want) == 0 ||
                               (isnan(want) && isnan(out[i])),
                           "%s: %s %#x became %a", sets[s], types[type].name, i, out[i]);
            }
        }
    }
}

static void check_narrow(int type, const char *const *sets, int n, uint32_t low)
{
    static float in[patterns];
    static uint16_t out[patterns], want[patterns];

    for (uint32_t i = 0; i < patterns; i++) {
        uint32_t bits = i << 16 | low;
        memcpy(&in[i], &bits, sizeof bits);
        want[i] = reference_encode(types[type].format, in[i]);
    }
    for (int s = 0; s < n; s++) {
        ASSERT(dhole__loops_use(sets[s]));
        memset(out, 0xa5, sizeof out);
        wide(type)->finish(in, out, patterns);
        for (int i = 0; i < patterns; i++)
            ASSERT_MSG(out[i] == want[i], "%s: %a as %s is %#x, expected %#x", sets[s], in[i],
                       types[type].name, out[i], want[i]);
    }
}

TEST(narrowing_rounds_to_nearest_even)
{
    static const uint32_t low[] = {0,      1,      0x0fff, 0x1000, 0x1001, 0x2fff, 0x3000,
                                   0x3001, 0x7000, 0x7fff, 0x8000, 0x8001, 0xf000, 0xffff};
    const char *sets[sets_max];
    int n = loop_sets(sets);

    for (int type = 0; type < 2; type++)
        for (size_t i = 0; i < sizeof low / sizeof low[0]; i++)
            check_narrow(type, sets, n, low[i]);
}
