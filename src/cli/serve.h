/* What the ranks of one model have in common, wherever they run. */
#ifndef DHOLE_CLI_SERVE_H
#define DHOLE_CLI_SERVE_H

#include "dhole/infer.h"

/* What ranks agree on before they join, in words: the model file and how it is split. */
enum { dhole__agreement_size = 128 };
void dhole__agreement(const dhole_model *model, dhole_parallel parallel, int ranks,
                      char out[static dhole__agreement_size]);

/* Works in the group, as a rank other than 0, until rank 0 is done. */
dhole_err dhole__serve(const dhole_model *model, dhole_group *group,
                       const dhole_engine_options *options);

#endif
