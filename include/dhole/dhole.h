/* Everything: groups and their collectives (libdhole), models and inference
 * (libdhole-infer). */
#ifndef DHOLE_DHOLE_H
#define DHOLE_DHOLE_H

#include "dhole/cluster.h"
#include "dhole/dtype.h"
#include "dhole/error.h"
#include "dhole/group.h"
#include "dhole/identity.h"
#include "dhole/infer.h"
#include "dhole/link.h"
#include "dhole/model.h"
#include "dhole/version.h"

#endif
