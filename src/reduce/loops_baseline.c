#define SET      dhole__loops_baseline
#define SET_NAME "baseline"
#include "reduce/loops_impl.h"
