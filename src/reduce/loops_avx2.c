#define SET      dhole__loops_avx2
#define SET_NAME "avx2"
#include "reduce/loops_impl.h"
