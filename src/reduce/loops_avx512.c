#define SET      dhole__loops_avx512
#define SET_NAME "avx512"
#include "reduce/loops_impl.h"
